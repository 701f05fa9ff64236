//! The figures of `--bin ratios` as criterion takes them, for comparison with an earlier state of
//! the code. Criterion runs a baseline and ours one after the other, not in turn: ratios are in
//! `--bin ratios`.
//!
//! ```text
//! cargo bench --manifest-path benches/Cargo.toml --bench supervision
//! ```

use std::future::Future;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use evertree_benches::echo::silence_crashes;
use evertree_benches::figures::Took;
use evertree_benches::{by_hand, on_worker, runtime, supervised};
use tokio::runtime::Runtime;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Figures that need some time each: few samples of equal length.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group
}

fn bench<F>(group: &mut Group<'_>, runtime: &Runtime, name: &str, figure: impl Fn(u64) -> F)
where
    F: Future<Output = Took> + Send + 'static,
{
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|n| on_worker(runtime, figure(n)).wall);
    });
}

fn spawn(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "spawn");
    bench(&mut group, &runtime, "bare, one by one", by_hand::spawn_one_by_one);
    bench(&mut group, &runtime, "start_child, one by one", supervised::spawn_one_by_one);
    bench(&mut group, &runtime, "bare, 64 in flight", by_hand::spawn_many);
    bench(&mut group, &runtime, "start_child, 64 in flight", supervised::spawn_many);
    bench(&mut group, &runtime, "declared", supervised::spawn_declared);
}

fn cast(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "cast");
    bench(&mut group, &runtime, "bare", |n| async move { by_hand::cast(n).await.0 });
    bench(&mut group, &runtime, "ChildRef", |n| async move { supervised::cast(n).await.0 });
}

fn call(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "call");
    bench(&mut group, &runtime, "bare, with a time limit", by_hand::call_within);
    bench(&mut group, &runtime, "ChildRef", supervised::call);
}

fn crash(criterion: &mut Criterion) {
    silence_crashes();
    let runtime = runtime();
    let mut group = group(criterion, "crash to first answer");
    let sum = |took: Vec<u64>| {
        let wall = took.into_iter().map(Duration::from_nanos).sum();
        Took { wall, ..Took::default() }
    };
    bench(
        &mut group,
        &runtime,
        "by hand",
        move |n| async move { sum(by_hand::crash(n, true).await) },
    );
    bench(&mut group, &runtime, "supervised", move |n| async move {
        sum(supervised::crash(n, true, 0).await)
    });
}

criterion_group!(benches, spawn, cast, call, crash);
criterion_main!(benches);
