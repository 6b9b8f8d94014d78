//! Two servers on one PostgreSQL: agents reach them by one address, and one of them is killed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::postgres::Postgres;
use super::village::Village;

/// Leads each connection to one of the servers in turn, or to the other where that does not answer, as
/// a load balancer does.
struct Balancer {
    turn: Arc<AtomicUsize>,
}

impl Balancer {
    fn new(port: u16, servers: [u16; 2]) -> Self {
        let turn = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let next = turn.clone();
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let first = next.fetch_add(1, Ordering::Relaxed);
                let servers = [servers[first % 2], servers[(first + 1) % 2]];
                let mut found = servers.into_iter().filter_map(connect);
                if let Some(server) = found.next() {
                    thread::spawn(move || join(&client, &server));
                }
            }
        });
        Self { turn }
    }

    fn connections(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
}

/// Carries bytes both ways until both ends have said all.
fn join(one: &TcpStream, other: &TcpStream) {
    thread::scope(|scope| {
        for (from, to) in [(one, other), (other, one)] {
            scope.spawn(move || {
                let _ = carry(from, to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

#[test]
fn agents_go_on_with_the_other_server_and_nothing_is_lost() {
    let Some(database) = Postgres::shared() else {
        return;
    };
    let store = database.connection_string(&database.database());
    let (village, second) = (Village::on_postgres(&store), Village::on_postgres(&store));
    let front = Village::free_port();
    let balancer = Balancer::new(front, [village.port(), second.port()]);

    // Both at once: one makes the tables, and each makes an authority of its own.
    let servers = thread::scope(|scope| {
        let one = scope.spawn(|| village.server());
        let other = scope.spawn(|| second.server());
        (one.join().unwrap(), other.join().unwrap())
    });
    // What an agent begins with are the authorities of both.
    for one in [&village, &second] {
        one.becomes(&["bundle", "show"], |told| {
            told.matches("BEGIN CERTIFICATE").count() == 2
        });
        one.write_bundle();
    }

    // A token made here lets in an agent there, and what is said here is done there.
    let tokens = [village.token(), second.token()];
    let agents = [
        village.agent_through(front, "a", Some(&tokens[0])),
        village.agent_through(front, "b", Some(&tokens[1])),
    ];
    for (name, token) in ["a", "b"].iter().zip(&tokens) {
        assert!(village.create_entry(token, "/one").status.success());
        assert!(second.create_entry(token, "/two").status.success());
        village.fetches(name, &["/one", "/two"]);
    }
    let state = |of: &Village| {
        let agents = of.operator(&["agent", "list", "-output", "json"]);
        let entries = of.operator(&["entry", "show", "-output", "json"]);
        (agents, entries, of.operator(&["bundle", "show"]))
    };
    let before = state(&village);
    assert_eq!(state(&second), before);
    let connections = balancer.connections();

    servers.0.kill();
    assert_eq!(state(&second), before);
    for (name, token) in ["a", "b"].iter().zip(&tokens) {
        assert!(second.create_entry(token, "/three").status.success());
        village.fetches(name, &["/one", "/three", "/two"]);
    }
    assert!(balancer.connections() > connections, "nobody came anew");
    let late = village.agent_through(front, "late", Some(&second.token()));
    late.says("Node attestation was successful");

    // The one that was killed comes back with its authority, and knows what happened meanwhile.
    let first = village.server();
    assert_eq!(state(&village), state(&second));
    assert_eq!(state(&village).2, before.2, "no new authority was made");
    servers.1.kill();
    for (name, token) in ["a", "b"].iter().zip(&tokens) {
        assert!(village.create_entry(token, "/four").status.success());
        village.fetches(name, &["/four", "/one", "/three", "/two"]);
    }
    for agent in agents {
        agent.stop();
    }
    late.stop();
    first.stop();
}

#[test]
fn a_database_that_is_away_keeps_nobody_from_what_is_in_memory() {
    let Some(database) = Postgres::start() else {
        return;
    };
    let store = database.connection_string(&database.database());
    let village = Village::on_postgres(&format!("{store} connect_timeout=2"));
    let server = village.server();
    let token = village.token();
    let agent = village.agent("agent", Some(&token));
    assert!(village.create_entry(&token, "/web").status.success());
    village.fetches("agent", &["/web"]);
    village.becomes(&["healthcheck"], |_| true);

    database.stop();
    let refused = village.create_entry(&token, "/away");
    assert!(!refused.status.success());
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("code = Unavailable"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    village.fetches("agent", &["/web"]);
    village.becomes_unhealthy();
    server.says("the database did not answer");

    database.go_on();
    village.becomes(&["healthcheck"], |_| true);
    assert!(village.create_entry(&token, "/api").status.success());
    village.fetches("agent", &["/api", "/web"]);
    agent.stop();
    server.stop();
}

#[test]
fn a_server_whose_database_is_away_says_where_it_should_be_and_not_the_password() {
    let village = Village::on_postgres(
        "host=127.0.0.1 port=1 dbname=spiffe user=u password=secret sslmode=disable",
    );
    let told = super::village::refusal(village.server_command());
    assert!(
        told.contains("127.0.0.1:1/spiffe: cannot open the database"),
        "{told}"
    );
    assert!(told.contains("Connection refused"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}
