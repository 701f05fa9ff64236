//! Tells that are lost with their connection: what is reported of them is true, lane by lane.

use std::collections::BTreeSet;

use tokio::net::TcpListener;

use super::proxy::Proxy;
use super::*;

const LANES_USED: usize = LANES as usize;

/// Gathers what is reported lost by `links`.
fn losses_of(links: &Links) -> (Arc<Mutex<Vec<Lost>>>, mpsc::UnboundedReceiver<()>) {
    let (losses, (bell, rung)) = (Arc::<Mutex<Vec<Lost>>>::default(), mpsc::unbounded_channel());
    let into = losses.clone();
    links.on_lost(move |lost| {
        into.lock().push(lost.clone());
        // A test may have heard enough.
        let _ = bell.send(());
    });
    (losses, rung)
}

fn broken_bell(links: &Links) -> mpsc::UnboundedReceiver<()> {
    let (_, rung, say) = collector();
    links.on_broken(move |_, why| say(why));
    rung
}

/// The numbers heard so far, by lane.
fn drain(heard: &mut mpsc::UnboundedReceiver<Heard>) -> [Vec<u32>; LANES_USED] {
    let mut by_lane = [const { Vec::new() }; LANES_USED];
    while let Ok(heard) = heard.try_recv() {
        let Heard::Tell(_, Head { lane, .. }, body) = heard else { panic!("only tells are heard") };
        by_lane[usize::from(lane)].push(number_of(&body));
    }
    by_lane
}

/// Unsent and unknown by lane; each lane is reported once.
fn by_lane(losses: &[Lost]) -> [(u64, u64); LANES_USED] {
    let mut by_lane = [(0, 0); LANES_USED];
    for lost in losses {
        assert_eq!((&lost.node, lost.class), (&node("b"), Class::Message));
        let lane = &mut by_lane[usize::from(lost.lane)];
        assert_eq!(*lane, (0, 0), "lane {} is reported twice", lost.lane);
        *lane = (lost.unsent, lost.unknown);
    }
    by_lane
}

#[tokio::test]
async fn a_break_with_tells_in_every_state_reports_all_that_may_be_lost() {
    let limits = Limits { output_bytes_max: 4 << 20, ..Limits::default() };
    let config = LinksConfig { limits, ..patient("a") };
    let (a, b) = (start(config).await, start(patient("b")).await);
    let proxy = Proxy::to(&b).await;
    a.learn(&node("b"), &proxy.addr());
    let mut heard = obey(&b, Service::Entity);
    let (losses, _) = losses_of(&a);
    let (mut a_broke, mut b_broke) = (broken_bell(&a), broken_bell(&b));
    let link = a.link(&node("b"), Class::Message, Service::Entity);
    let mut sent = [0_u32; LANES_USED];
    // Arrived, and most of it known to have.
    for turn in 0..LANES_USED * 20 {
        let lane = turn % LANES_USED;
        let body = numbered(sent[lane], 16 << 10);
        link.send(on(u8::try_from(lane).expect("16")), body, soon()).await.expect("room");
        sent[lane] += 1;
    }
    assert_eq!(ask(&a, "b", "x").await, Ok("x".into()));
    // On the way, in the sockets, in the output: until there is no room anywhere.
    proxy.stall();
    let (mut in_a_row, mut turn) = (0, 0);
    while in_a_row < 200 {
        let lane = turn % LANES_USED;
        turn += 1;
        match link.tell(on(u8::try_from(lane).expect("16")), numbered(sent[lane], 16 << 10)) {
            Ok(()) => (sent[lane], in_a_row) = (sent[lane] + 1, 0),
            Err(_) => in_a_row += 1,
        }
        tokio::task::yield_now().await;
    }
    proxy.cut();
    in_time("the break", a_broke.recv()).await;
    in_time("the other side's", b_broke.recv()).await;

    let (arrived, lost) = (drain(&mut heard), by_lane(&losses.lock()));
    for lane in 0..LANES_USED {
        let (numbers, (unsent, unknown)) = (&arrived[lane], lost[lane]);
        assert!(in_order(numbers), "lane {lane}: {numbers:?}");
        let (arrived, sent) = (numbers.len() as u64, u64::from(sent[lane]));
        assert!(arrived >= 20 && unsent > 0 && unknown > 0, "{lane}: {arrived} {unsent} {unknown}");
        assert!(arrived + unsent + unknown >= sent, "lane {lane}: {sent} were sent");
        assert!(arrived <= sent - unsent, "lane {lane}: what was unsent arrived");
        assert!(unsent + unknown < sent, "lane {lane}: some are known to have arrived");
    }
    let sum = |of: fn(&(u64, u64)) -> u64| lost.iter().map(of).sum::<u64>();
    let counts = a.counts();
    assert_eq!((counts.tells_unsent, counts.tells_unknown), (sum(|l| l.0), sum(|l| l.1)));
    assert_eq!((counts.broken, b.counts().broken), (1, 1));
    assert!(a_broke.try_recv().is_err() && b_broke.try_recv().is_err(), "said once");
}

/// Counted from 0, without a gap.
fn in_order(numbers: &[u32]) -> bool {
    numbers.iter().zip(0..).all(|(number, expected)| *number == expected)
}

#[tokio::test]
async fn under_cuts_at_any_time_nothing_comes_twice_and_every_loss_is_reported() {
    // None of the links stands for long: the waits between them would only grow.
    let mut quick = patient("a");
    quick.timing.backoff_max = quick.timing.backoff_min;
    let (a, b) = (start(quick).await, start(patient("b")).await);
    let proxy = Proxy::to(&b).await;
    a.learn(&node("b"), &proxy.addr());
    let mut heard = obey(&b, Service::Entity);
    let (losses, _) = losses_of(&a);
    let (mut a_broke, mut b_broke) = (broken_bell(&a), broken_bell(&b));
    let link = a.link(&node("b"), Class::Message, Service::Entity);
    let (mut numbers, mut seen) = (0.., BTreeSet::new());
    for round in 0..20_u32 {
        answered(&a, "b").await;
        let (mut sent, mut left) = (0_u64, round * 97);
        for number in numbers.by_ref() {
            let lane = u8::try_from(number % u32::from(LANES)).expect("below 16");
            // The link has ended: this round is over.
            let Ok(()) = link.tell(on(lane), numbered(number, 1_000)) else { break };
            sent += 1;
            if left == 0 {
                proxy.cut();
            }
            left = left.wrapping_sub(1);
            tokio::task::yield_now().await;
        }
        in_time("the break", a_broke.recv()).await;
        in_time("the other side's", b_broke.recv()).await;
        let (arrived, lost) = (drain(&mut heard), std::mem::take(&mut *losses.lock()));
        let lost = by_lane(&lost);
        for lane in &arrived {
            assert!(lane.is_sorted(), "round {round}: {lane:?}");
            assert!(lane.iter().all(|number| seen.insert(*number)), "round {round}: twice");
        }
        let arrived = arrived.iter().map(Vec::len).sum::<usize>() as u64;
        let unsent: u64 = lost.iter().map(|lane| lane.0).sum();
        let unknown: u64 = lost.iter().map(|lane| lane.1).sum();
        assert!(arrived + unsent + unknown >= sent, "round {round}: a loss nobody heard of");
        assert!(arrived + unsent <= sent, "round {round}: what was unsent arrived");
    }
    assert_eq!((a.counts().broken, b.counts().broken), (20, 20));
}

#[tokio::test]
async fn what_waits_for_a_link_that_never_stands_is_unsent() {
    let a = start(insecure("a")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    a.learn(&node("b"), &listener.local_addr().expect("it listens").to_string());
    let (losses, mut rung) = losses_of(&a);
    let link = a.link(&node("b"), Class::Message, Service::Entity);
    for number in 0..5 {
        link.tell(on(18), numbered(number, 10)).expect("it is dialled");
    }
    drop(listener.accept().await.expect("it was dialled"));
    in_time("the loss", rung.recv()).await;
    let class = Class::Message;
    let expected = Lost { node: node("b"), class, lane: 2, unsent: 5, unknown: 0 };
    assert_eq!(*losses.lock(), [expected]);
    assert_eq!((a.counts().tells_unsent, a.counts().broken), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_loses_only_what_had_not_arrived() {
    let net = PipeNet::default();
    let a = virtual_node(&net, insecure("a")).await;
    let b = virtual_node(&net, insecure("b")).await;
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let (losses, mut rung) = losses_of(&a);
    let link = a.link(&node("b"), Class::Message, Service::Entity);
    for number in 0..100 {
        let lane = u8::try_from(number % 16).expect("below 16");
        link.tell(on(lane), numbered(number, 50)).expect("room");
    }
    // Virtual: some pings, whose pongs say what arrived.
    tokio::time::sleep(Duration::from_secs(3)).await;
    a.close(&node("b"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(drain(&mut heard).iter().map(Vec::len).sum::<usize>(), 100);
    assert_eq!((losses.lock().len(), b.counts().broken), (0, 0));

    // What had not left when the link was closed never does, and is said.
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()));
    for number in 0..3 {
        link.tell(on(7), numbered(number, 50)).expect("room");
    }
    a.close(&node("b"));
    rung.recv().await.expect("a loss");
    let class = Class::Message;
    let expected = Lost { node: node("b"), class, lane: 7, unsent: 3, unknown: 0 };
    assert_eq!(*losses.lock(), [expected]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((heard.try_recv().is_err(), b.counts().broken), (true, 0));
    assert!(b.0.table.lock().loose.is_empty(), "the other side knows that it ended");
}
