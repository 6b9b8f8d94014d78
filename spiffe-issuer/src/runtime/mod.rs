//! What keeps a process running: its tasks, its health, its log and its files.

mod supervisor;

pub use supervisor::{Restarts, Shutdown, Stopped, Supervisor, Task, TaskError};
