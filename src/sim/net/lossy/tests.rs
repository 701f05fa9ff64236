//! Over pipes in virtual time: what is written arrives at once, so all that is late is loss.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::super::loss::{Loss, Side};
use super::*;

const P: u16 = 300;

fn losses(seed: u64, permille: u16) -> Retransmissions {
    Loss::new(seed, permille).connection("n1", "n2", Side::Dialler)
}

/// A far end without loss, and an end with it.
fn ends(seed: u64, permille: u16) -> (DuplexStream, LossyStream<DuplexStream>) {
    let (far, near) = duplex(1 << 20);
    (far, LossyStream::new(near, losses(seed, permille)))
}

/// How late each of `segments` is, if each is sent when the last one has arrived.
async fn lateness(seed: u64, permille: u16, segments: usize) -> Vec<Duration> {
    let (mut far, mut near) = ends(seed, permille);
    let mut late = Vec::new();
    for _ in 0..segments {
        let sent = Instant::now();
        far.write_u8(7).await.expect("it is open");
        near.read_u8().await.expect("it arrives");
        late.push(sent.elapsed());
    }
    late
}

#[tokio::test(start_paused = true)]
async fn loss_is_delay_by_the_timeouts_of_tcp() {
    let segments = 5_000;
    let late = lateness(1, P, segments).await;
    let steps = [0, 200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000].map(Duration::from_millis);
    assert!(late.iter().all(|span| steps.contains(span)), "other delays: {late:?}");
    for (step, lost) in steps.iter().zip(0..4) {
        let found = late.iter().filter(|span| **span >= *step).count();
        let expected = segments * 3_usize.pow(lost) / 10_usize.pow(lost);
        assert!(found.abs_diff(expected) <= segments / 50, "{step:?} or more: {found}");
    }
    assert_eq!(late, lateness(1, P, segments).await, "the same seed");
    assert_ne!(late, lateness(2, P, segments).await, "another seed");
    let never = lateness(1, 0, segments).await;
    assert!(never.iter().all(Duration::is_zero), "without loss nothing is late: {never:?}");
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_and_no_segment_adds_its_delay_to_another() {
    let (mut far, mut near) = ends(3, P);
    let segments = 2_000_u32;
    let reading = tokio::spawn(async move {
        let mut came = Vec::new();
        for number in 0..segments {
            assert_eq!(near.read_u32().await.expect("it arrives"), number, "in order");
            came.push(Instant::now());
        }
        came
    });
    let (mut alone, mut expected) = (losses(3, P), Vec::new());
    let mut due = Instant::now();
    for number in 0..segments {
        far.write_u32(number).await.expect("it is open");
        due = due.max(Instant::now() + delay(alone.draw()));
        expected.push(due);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let came = reading.await.expect("it does not panic");
    assert!(came == expected, "each when it and all before it have come");
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_last_and_closes_one_way_only() {
    let mut was_late = false;
    for seed in 0..20 {
        let (mut far, mut near) = ends(seed, P);
        for number in 0..10 {
            far.write_u8(number).await.expect("it is open");
        }
        far.shutdown().await.expect("it is open");
        let (began, mut got) = (Instant::now(), Vec::new());
        near.read_to_end(&mut got).await.expect("an end, not an error");
        was_late |= !began.elapsed().is_zero();
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        assert_eq!(near.read(&mut [0]).await.expect("still the end"), 0);
        near.write_all(b"back").await.expect("this way is open");
        near.shutdown().await.expect("this way is open");
        let mut back = String::new();
        far.read_to_string(&mut back).await.expect("an end, not an error");
        assert_eq!(back, "back");
    }
    assert!(was_late, "no run lost anything");
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_never_comes_breaks_the_connection_in_its_turn() {
    let (mut far, mut near) = ends(4, 1000);
    let began = Instant::now();
    far.write_u8(1).await.expect("it is open");
    let mut byte = [0];
    for _ in 0..2 {
        let error = near.read(&mut byte).await.expect_err("all is lost");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_millis(102_200));
    }
    let error = near.write(&byte).await.expect_err("it is broken");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_comes_whole() {
    let (far, near) = duplex(4096);
    let mut near = LossyStream::new(near, losses(5, P));
    let sent: Vec<u8> = (0..2_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let sending = tokio::spawn({
        let (mut far, sent) = (far, sent.clone());
        async move { far.write_all(&sent).await.expect("it is open") }
    });
    let (mut got, mut most) = (Vec::new(), 0);
    let mut chunk = [0; 1000];
    loop {
        let read = near.read(&mut chunk).await.expect("an end, not an error");
        if read == 0 {
            break;
        }
        got.extend_from_slice(&chunk[..read]);
        most = most.max(near.waiting_bytes);
    }
    sending.await.expect("it does not panic");
    assert!(got == sent, "{} of {} bytes, or others", got.len(), sent.len());
    let bound = WAITING_BYTES_MAX + SEGMENT_BYTES_MAX;
    assert!((WAITING_BYTES_MAX / 2..bound).contains(&most), "{most} bytes waited at once");
}
