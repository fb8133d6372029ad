use std::sync::Arc;

use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn nothing(queue: &Queue<u8>, wait: Duration) {
    let got = tokio::time::timeout(wait, queue.get()).await;
    assert!(got.is_err(), "{got:?} should not be there yet");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_handed_out_once_and_again_only_after_done() {
    let queue = Queue::new();
    queue.add(1, Some(Revision(4)));
    queue.add(2, None);
    queue.add(1, Some(Revision(3)));
    assert_eq!(queue.get().await, Some((1, vec![Revision(3), Revision(4)])));
    assert_eq!(queue.get().await, Some((2, vec![])));
    queue.add(1, Some(Revision(9)));
    nothing(&queue, ms(50)).await;
    queue.done(&1);
    assert_eq!(queue.get().await, Some((1, vec![Revision(9)])));
    queue.done(&1);
    queue.done(&2);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_delays_the_earlier_holds() {
    let queue = Queue::new();
    let start = Instant::now();
    queue.add_after(1, ms(300));
    queue.add_after(1, ms(100));
    queue.add_after(1, ms(200));
    queue.get().await.unwrap();
    assert_eq!(start.elapsed(), ms(100));
    queue.done(&1);
    nothing(&queue, ms(1000)).await;
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_until_forgotten() {
    let queue = Queue::with_backoff(ms(10), ms(35));
    for expected in [10, 20, 35, 35] {
        let start = Instant::now();
        queue.retry(1, &[]);
        queue.get().await.unwrap();
        queue.done(&1);
        assert_eq!(start.elapsed(), ms(expected));
    }
    queue.forget(&1);
    let start = Instant::now();
    queue.retry(1, &[]);
    queue.get().await.unwrap();
    assert_eq!(start.elapsed(), ms(10));
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_run_wrote_does_not_cut_its_back_off_short() {
    // What was added while the run that wrote revisions 7 and 8 was failing, and after it; how soon the key comes back.
    let (own, foreign, insistent) = (Some(Revision(7)), Some(Revision(6)), None);
    let cases = [
        ("its own change, at once", Some(own), None, 10),
        ("its own change, seen late", None, Some(own), 10),
        ("another's change meanwhile", Some(foreign), Some(own), 0),
        ("another's change afterwards", Some(own), Some(foreign), 0),
        ("somebody insists", Some(insistent), Some(own), 0),
    ];
    for (name, during, after, expected) in cases {
        let queue = Queue::with_backoff(ms(10), ms(35));
        queue.add(1, Some(Revision(1)));
        queue.get().await.unwrap();
        during.into_iter().for_each(|cause| queue.add(1, cause));
        let start = Instant::now();
        queue.retry(1, &[Revision(7), Revision(8)]);
        queue.done(&1);
        after.into_iter().for_each(|cause| queue.add(1, cause));
        queue.get().await.unwrap();
        assert_eq!(start.elapsed(), ms(expected), "case: {name}");
        queue.done(&1);
    }
}

#[tokio::test(start_paused = true)]
async fn causes_that_are_given_back_do_not_bring_the_key_back() {
    let queue = Queue::with_backoff(ms(10), ms(35));
    queue.add(1, Some(Revision(5)));
    let (_, causes) = queue.get().await.unwrap();
    let start = Instant::now();
    queue.remember(&1, causes);
    queue.retry(1, &[]);
    queue.done(&1);
    assert_eq!(queue.get().await, Some((1, vec![Revision(5)])));
    assert_eq!(start.elapsed(), ms(10), "it waits for its back-off");
}

#[tokio::test(start_paused = true)]
async fn two_adds_wake_two_waiting_workers_and_close_all_of_them() {
    let queue: Arc<Queue<u8>> = Arc::new(Queue::new());
    let worker = |queue: Arc<Queue<u8>>| tokio::spawn(async move { queue.get().await });
    let workers = [worker(queue.clone()), worker(queue.clone())];
    tokio::task::yield_now().await;
    queue.add(1, None);
    queue.add(2, None);
    let mut got = Vec::new();
    for worker in workers {
        got.push(worker.await.unwrap().unwrap().0);
    }
    got.sort_unstable();
    assert_eq!(got, [1, 2]);

    let waiting = [worker(queue.clone()), worker(queue.clone()), worker(queue.clone())];
    tokio::task::yield_now().await;
    queue.close();
    for worker in waiting {
        assert_eq!(worker.await.unwrap(), None);
    }
}
