//! A tree as the whole of a process: signals and exit codes. Each case runs this very test in a
//! process of its own, told by an environment variable what to be.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::*;
use crate::supervisor::{EXIT_GAVE_UP, EXIT_SIGNAL, EXIT_STOPPED, EXIT_STUCK, Stop};

const ROLE: &str = "EVERTREE_TEST_RUN_AS";
const READY: &str = "ready";
/// The stuck child runs by now: before that it can be ended like any other.
const HANGS: &str = "hangs";

/// What the process is: two tasks that say when they end, and one that misbehaves.
fn app(role: &str) -> SupervisorSpec {
    let says = |name: &'static str| {
        task(name, move |stop: Stop| async move {
            stop.requested().await;
            println!("{name} has stopped");
        })
    };
    let spec = SupervisorSpec::one_for_one("app").child(says("one")).child(says("two"));
    match role {
        "patient" => {
            let deaf = task("deaf", |_: Stop| std::future::pending::<()>());
            spec.child(deaf.shutdown(Shutdown::Patient))
        }
        "crashing" => spec.child(task("bad", |_: Stop| async { Err::<(), _>("no") })),
        "stuck" => {
            let stuck = |_: Stop| async {
                let (_hold, forever) = std::sync::mpsc::channel::<()>();
                println!("{HANGS}");
                let _ = forever.recv();
            };
            spec.child(task("stuck", stuck).shutdown(Shutdown::Kill))
        }
        _ => spec,
    }
}

/// Runs as the application, and never returns.
fn be(role: &str) -> ! {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let code = runtime.block_on(async {
        let tree = app(role).start().await.expect("it starts");
        // Polled in this order: the handlers for signals are there before it says so.
        let ready = async { println!("{READY}") };
        futures::join!(tree.run_until_signal(), ready).0
    });
    // `ExitCode` tells its number to nobody but the operating system.
    let codes = [EXIT_STOPPED, EXIT_GAVE_UP, EXIT_STUCK];
    let number = codes.into_iter().find(|number| code == (*number).into());
    std::process::exit(i32::from(number.unwrap_or(u8::MAX)));
}

/// The process, what it prints from now on, and what it printed before it was ready.
struct App(Child, BufReader<std::process::ChildStdout>, Vec<String>);

impl App {
    fn run(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "supervisor::tests::run::a_tree_runs_a_process", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut app = Self(child, output, Vec::new());
        app.2 = app.says(READY);
        app
    }

    /// Waits for a line, and returns those before it that are the application's.
    fn says(&mut self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        for line in self.1.by_ref().lines().map_while(Result::ok) {
            if line == wanted {
                return before;
            }
            before.push(line);
        }
        panic!("it did not say {wanted}, but {before:?}");
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill").success());
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.0.wait().expect("it ends");
        let mut said = String::new();
        let stderr = self.0.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut said).expect("it is text");
        (status, said)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tree_runs_a_process() {
    if let Ok(role) = std::env::var(ROLE) {
        be(&role);
    }
    for signal in ["INT", "TERM"] {
        let mut app = App::run("good");
        app.signal(signal);
        assert_eq!(app.says("one has stopped"), ["two has stopped"], "in reverse order");
        assert_eq!(app.end().0.code(), Some(i32::from(EXIT_STOPPED)));
    }
    // A child that never stops keeps the first signal waiting, not the second.
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let mut app = App::run("patient");
        app.signal("TERM");
        // Nothing says when the first one was heard, so the second is sent until the end.
        while app.0.try_wait().expect("it has a state").is_none() {
            app.signal(signal);
        }
        // Whichever of the two was heard second.
        let code = app.end().0.code().map(|code| code - i32::from(EXIT_SIGNAL));
        assert!(code == Some(number) || code == Some(15), "{code:?}");
    }
    let (status, said) = App::run("crashing").end();
    assert_eq!(status.code(), Some(i32::from(EXIT_GAVE_UP)), "{said}");
    assert!(said.contains("gave up"), "{said}");
    let mut app = App::run("stuck");
    if !app.2.iter().any(|line| line == HANGS) {
        app.says(HANGS);
    }
    app.signal("TERM");
    let (status, said) = app.end();
    assert_eq!(status.code(), Some(i32::from(EXIT_STUCK)), "{said}");
    assert!(said.contains("app/stuck is stuck"), "{said}");
}
