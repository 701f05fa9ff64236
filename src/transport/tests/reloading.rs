//! Certificates replaced while the node runs: links that stand go on, later ones use the new.

use super::*;

fn trusting(ca: &str, (cert, key): &(String, String)) -> Security {
    let tls = TlsConfig::from_pem(ca, cert, key, Arc::new(BootClock));
    Security::Tls(Arc::new(tls.expect("good PEM")))
}

#[tokio::test]
async fn links_that_stand_go_on_and_later_ones_use_the_new_authority() {
    let (old, new) = (Authority::new("test").expect("a name"), Authority::new("test"));
    let new = new.expect("a good name");
    let (a, b) = (start(secure("a", &old)).await, start(secure("b", &old)).await);
    let stale = start(secure("stale", &old)).await;
    introduce(&a, "b", &b);
    introduce(&stale, "b", &b);
    let _heard = obey(&b, Service::Entity);
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()));
    assert_eq!(ask_in(&stale, "b", Class::Message).await, Ok("x".into()));

    a.replace_security(secure("a", &new).security).expect("its own certificate");
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()), "it stands");
    let asked = ask_in(&a, "b", Class::Control).await;
    let Err(AskError::NotExecuted(why)) = asked else { panic!("{asked:?}") };
    assert!(why.contains("need certificates of one authority"), "{why}");

    b.replace_security(secure("b", &new).security).expect("its own certificate");
    assert_eq!(ask_in(&a, "b", Class::Bulk).await, Ok("x".into()), "both have the new one");
    for from in [&a, &stale] {
        assert_eq!(ask_in(from, "b", Class::Message).await, Ok("x".into()), "it still stands");
        assert_eq!(from.counts().broken, 0);
    }
    let asked = ask_in(&stale, "b", Class::Bulk).await;
    let Err(AskError::NotExecuted(why)) = asked else { panic!("{asked:?}") };
    assert!(why.contains("need certificates of one authority"), "{why}");
    assert_eq!((b.counts().accepted, b.counts().broken), (3, 0));
}

#[tokio::test]
async fn a_whole_cluster_changes_its_authority_and_no_link_is_ever_refused() {
    let (old, new) = (Authority::new("test").expect("a name"), Authority::new("test"));
    let new = new.expect("a good name");
    let both = old.ca_pem() + &new.ca_pem();
    let (a, b) = (start(secure("a", &old)).await, start(secure("b", &old)).await);
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    // First all trust both, then all show the new, then all trust only that.
    for (authority, ca) in [(&old, &both), (&new, &both), (&new, &new.ca_pem())] {
        for (links, name) in [(&a, "a"), (&b, "b")] {
            let pem = authority.issue_node(name).expect("a good name");
            links.replace_security(trusting(ca, &pem)).expect("its own certificate");
            a.close(&node("b"));
            assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()), "{name}");
        }
    }
    assert_eq!((a.counts().dials_failed, b.counts().refused), (0, 0));
}

#[tokio::test]
async fn what_is_no_certificate_of_this_node_changes_nothing() {
    let authority = Authority::new("test").expect("a good name");
    let (a, b) = (start(secure("a", &authority)).await, start(secure("b", &authority)).await);
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    let error = a.replace_security(secure("b", &authority).security).expect_err("not its own");
    assert!(matches!(error, LinksError::WrongCertificate { .. }), "{error}");
    let error = a.replace_security(Security::Insecure).expect_err("it is TLS");
    assert!(matches!(error, LinksError::SecurityKind), "{error}");
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()), "as before");

    let plain = start(insecure("a")).await;
    for security in [secure("a", &authority).security, Security::Insecure] {
        let error = plain.replace_security(security).expect_err("it is insecure");
        assert!(matches!(error, LinksError::SecurityKind), "{error}");
    }
}
