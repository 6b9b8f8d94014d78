//! What keeps a process running: its tasks, its health, its log and its files.

pub mod connections;
pub mod files;
pub mod health;
pub mod periodic;
pub mod signals;
mod supervisor;
pub mod telemetry;
pub mod unix_socket;

pub use supervisor::{Restarts, Shutdown, Stopped, Supervisor, Task, TaskError};
