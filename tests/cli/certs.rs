//! `evertree certs`: modes, refusals, and that nodes form a cluster with what it makes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::{Process, done, done_json, free_port, is_refused, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

#[test]
fn keys_are_for_their_owner_alone_whatever_the_umask_is() {
    let place = tempfile::tempdir().expect("a folder");
    let certs = place.path().join("deep/certs");
    for command in ["init --cluster shop", "issue n1"] {
        let line = format!("umask 000; exec \"$0\" certs {command} --dir deep/certs");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line).arg(env!("CARGO_BIN_EXE_evertree")).current_dir(place.path());
        assert!(shell.stdout(Stdio::null()).status().expect("it runs").success(), "{command}");
    }
    assert_eq!(mode(&certs), 0o700);
    let modes: Vec<_> =
        names(&certs).iter().map(|name| (name.clone(), mode(&certs.join(name)))).collect();
    let expected = [("ca.key", 0o600), ("ca.pem", 0o644), ("n1.key", 0o600), ("n1.pem", 0o644)];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn nothing_is_overwritten_and_what_is_asked_wrongly_is_told() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let refused = |arguments: &str, code: i32, words: &[&str]| {
        let arguments: Vec<&str> = ["certs"].into_iter().chain(arguments.split(' ')).collect();
        is_refused(&run(folder, &arguments), code, &format!("{arguments:?}"), words);
    };
    refused("issue n1", 1, &["no directory certs", "evertree certs init"]);
    refused("init --cluster Shop", 2, &["--cluster", "\"Shop\"", "1 to 63 of a-z"]);
    done(folder, &["certs", "init", "--cluster", "shop"]);
    done(folder, &["certs", "issue", "n1"]);
    let before: Vec<_> = names(&folder.join("certs"));
    let texts = || before.iter().map(|name| read(&folder.join("certs").join(name))).collect();
    let first: Vec<String> = texts();

    refused("init --cluster shop", 1, &["certs/ca.pem is not overwritten", "another directory"]);
    refused("issue n1", 1, &["certs/n1.pem is not overwritten", "evertree certs renew n1"]);
    refused("issue N1", 2, &["\"N1\"", "[a-z0-9][a-z0-9.-]"]);
    refused("issue ../n1", 2, &["\"../n1\""]);
    refused("issue n2 --days 0", 2, &["--days", "1..=3650"]);
    refused("issue n2 --days 3651", 2, &["--days"]);
    refused("renew n2", 1, &["no certs/n2.pem", "evertree certs issue n2"]);
    assert_eq!(
        (names(&folder.join("certs")), texts()),
        (before.clone(), first),
        "something changed"
    );

    // A run that was cut short left one of the two.
    let (pem, away) = (folder.join("certs/n1.pem"), folder.join("certs/away.pem"));
    fs::rename(&pem, &away).expect("it is there");
    refused("issue n1", 1, &["certs/n1.key is not overwritten", "cut short", "away first"]);
    fs::rename(&away, &pem).expect("it is there");

    // A node's certificate for another node, and one of another authority.
    fs::copy(&pem, folder.join("certs/n2.pem")).expect("it is copied");
    refused("renew n2", 1, &["certs/n2.pem", "spiffe://shop/node/n1", "spiffe://shop/node/n2"]);
    done(folder, &["certs", "init", "--cluster", "shop", "--dir", "other"]);
    done(folder, &["certs", "issue", "n3", "--dir", "other"]);
    fs::copy(folder.join("other/n3.pem"), folder.join("certs/n3.pem")).expect("it is copied");
    refused("renew n3", 1, &["certs/n3.pem", "this authority did not sign it"]);
    fs::copy(folder.join("other/ca.key"), folder.join("certs/ca.key")).expect("it is copied");
    refused("issue n4", 1, &["certs/ca.pem and certs/ca.key", "does not belong to it"]);

    set_mode(&folder.join("certs/ca.key"), 0o640);
    refused("issue n4", 1, &["certs/ca.key", "0640", "chmod 600 certs/ca.key"]);
    set_mode(&folder.join("certs"), 0o755);
    refused("issue n4", 1, &["certs", "0755", "chmod 700 certs"]);
    refused("init --cluster shop --dir certs", 1, &["chmod 700 certs"]);
    fs::write(folder.join("file"), "").expect("it is written");
    refused("issue n1 --dir file", 1, &["file is not a directory"]);
}

#[test]
fn a_node_s_certificate_ends_no_later_than_its_authority() {
    let place = tempfile::tempdir().expect("a folder");
    done(place.path(), &["certs", "init", "--cluster", "shop"]);
    let issue = ["certs", "issue", "n1", "--json", "--days"];
    let with = |days: &'static str| issue.into_iter().chain([days]).collect::<Vec<_>>();
    let most = done_json(place.path(), &with("3649"));
    let least = done_json(place.path(), &["certs", "issue", "n2", "--json"]);
    let until = |done: &serde_json::Value| done["valid_until_unix"].as_u64().expect("a moment");
    // Made within the same minute or so.
    let between = (until(&most) - until(&least)) / 60;
    assert!(between.abs_diff((3_649 - 365) * 24 * 60) <= 2, "{between} minutes");
}

#[test]
fn renewing_keeps_key_and_mode_and_leaves_nothing_else() {
    let place = tempfile::tempdir().expect("a folder");
    let certs = place.path().join("certs");
    let made = done_json(place.path(), &["certs", "init", "--cluster", "shop", "--json"]);
    assert_eq!(made["files"], serde_json::json!(["certs/ca.key", "certs/ca.pem"]));
    assert_eq!((&made["cluster"], &made["node"]), (&"shop".into(), &serde_json::Value::Null));
    done(place.path(), &["certs", "issue", "n1", "--days", "1"]);
    let (pem, key) = (certs.join("n1.pem"), certs.join("n1.key"));
    set_mode(&pem, 0o640);
    let (old_pem, old_key) = (read(&pem), read(&key));
    let old_inode = fs::metadata(&pem).expect("it is there").ino();
    // The key may be on the node alone.
    fs::rename(&key, place.path().join("n1.key")).expect("it is there");
    // What a run left that was cut short is no hindrance.
    fs::write(certs.join(".n1.pem.new"), "half").expect("it is written");
    let said = done(place.path(), &["certs", "renew", "n1"]);
    assert!(said.contains("its key is the same") && said.contains("kill -HUP"), "{said}");
    assert_eq!(names(&certs), ["ca.key", "ca.pem", "n1.pem"]);
    assert_ne!(read(&pem), old_pem);
    assert_ne!(fs::metadata(&pem).expect("it is there").ino(), old_inode, "not by a rename");
    assert_eq!(mode(&pem), 0o640);
    assert_eq!(read(&place.path().join("n1.key")), old_key);
}

/// Two nodes that know each other.
struct Two {
    place: tempfile::TempDir,
    ports: [u16; 2],
}

impl Two {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        done(place.path(), &["certs", "init", "--cluster", "shop"]);
        for name in ["n1", "n2"] {
            done(place.path(), &["certs", "issue", name]);
        }
        Self { place, ports: [free_port(), free_port()] }
    }

    /// Starts n1 or n2; `life` tells what it says from what it said before.
    fn start(&self, number: usize, life: &str) -> Process {
        let [one, two] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let (name, join) = (format!("n{number}"), format!("{one},{two}"));
        let listen = if number == 1 { &one } else { &two };
        let [cert, key] = ["pem", "key"].map(|kind| format!("certs/{name}.{kind}"));
        let arguments = ["--name", &name, "--cluster", "shop", "--listen", listen, "--join", &join];
        let files = ["--ca", "certs/ca.pem", "--cert", &cert, "--key", &key, "--data", &name];
        let arguments: Vec<&str> =
            arguments.into_iter().chain(files).chain(["--expect", "2"]).collect();
        Process::start(self.place.path(), &format!("{name}-{life}"), &arguments)
    }

    fn certs(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join("certs").join(name)
    }
}

#[test]
fn two_nodes_form_a_cluster_and_one_takes_a_renewed_certificate_while_it_runs() {
    let two = Two::new();
    let (mut n1, mut n2) = (two.start(1, "first"), two.start(2, "first"));
    let (said, other) = (n1.member(), n2.member());
    let id = |said: &str| said.split_once("(cluster id ").map(|(_, rest)| rest[..64].to_owned());
    assert!(said.starts_with("n1 is a member of shop (cluster id "), "{said}");
    assert_eq!(id(&said).expect("an id"), id(&other).expect("an id"));

    // A bad one leaves the old ones in force.
    let good = read(&two.certs("n1.pem"));
    fs::write(two.certs("n1.pem"), "torn").expect("it is written");
    n1.signal(Signal::HUP);
    n1.says("SIGHUP: the old certificates stay in force: certs/n1.pem: ");
    fs::write(two.certs("n1.pem"), read(&two.certs("n2.pem"))).expect("it is written");
    n1.signal(Signal::HUP);
    n1.says("stay in force: certs/n1.pem is for spiffe://shop/node/n2");
    fs::write(two.certs("n1.pem"), good).expect("it is written");
    set_mode(&two.certs("n1.key"), 0o644);
    n1.signal(Signal::HUP);
    n1.says("stay in force: the key certs/n1.key");
    set_mode(&two.certs("n1.key"), 0o600);

    done(two.place.path(), &["certs", "renew", "n1"]);
    n1.signal(Signal::HUP);
    n1.says("SIGHUP: certificates read again, new links use them until 20");

    // New links are made with it: the other one dies and comes back.
    n2.signal(Signal::KILL);
    n2.ended();
    let mut n2 = two.start(2, "second");
    assert!(n2.member().contains("boot 2"), "{}", n2.out());
    for node in [&mut n2, &mut n1] {
        node.signal(Signal::TERM);
        assert_eq!(node.ended().code(), Some(0), "{}", node.err());
    }
}

#[test]
fn a_node_with_certificates_that_are_not_its_own_does_not_start() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    done(folder, &["certs", "init", "--cluster", "shop"]);
    for name in ["n1", "n2"] {
        done(folder, &["certs", "issue", name]);
    }
    let refused = |name: &str, cluster: &str, files: [&str; 3], words: &[&str]| {
        let [ca, cert, key] = files.map(|file| format!("certs/{file}"));
        let arguments = ["node", "--name", name, "--cluster", cluster, "--listen", "127.0.0.1:0"];
        let files = ["--ca", &ca, "--cert", &cert, "--key", &key, "--data", "data"];
        let arguments: Vec<&str> = arguments.into_iter().chain(files).collect();
        let output = run(folder, &arguments);
        is_refused(&output, 2, &format!("{arguments:?}"), words);
    };
    let own = ["ca.pem", "n1.pem", "n1.key"];
    refused("n1", "shop", ["ca.pem", "n2.pem", "n2.key"], &["certs/n2.pem", "node/n2", "node/n1"]);
    refused("n1", "shops", own, &["spiffe://shop/node/n1", "spiffe://shops/node/n1"]);
    refused(
        "n1",
        "shop",
        ["ca.pem", "n1.pem", "n2.key"],
        &["n1 cannot start", "certificate and key"],
    );
    refused("n1", "shop", ["ca.pem", "n3.pem", "n1.key"], &["cannot read certs/n3.pem"]);
    refused("n1", "shop", ["ca.pem", "n1.pem", "n1.pem"], &["key certs/n1.pem", "chmod 600"]);
    refused("n1", "shop", ["n1.key", "n1.pem", "n1.key"], &["authority's certificate"]);
    set_mode(&folder.join("certs/n1.key"), 0o640);
    refused("n1", "shop", own, &["certs/n1.key", "0640", "chmod 600 certs/n1.key"]);
    assert!(!folder.join("data/store").exists(), "a store was made");
}
