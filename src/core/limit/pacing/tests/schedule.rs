//! Random schedules of requests against an exact bucket: nobody is refused, nothing is left unused (SPEC 16.3-16.6).

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::bucket::{Habit, Provider};
use super::*;

/// One request to come. Times in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Job {
    gap: u64,
    input: f64,
    output: f64,
    /// Parts of what was reserved that are used.
    used: (f64, f64),
    /// From sending to the head, and from there to the end.
    head: u64,
    body: u64,
    /// When between sending and head the reading is true.
    read: f64,
    /// When between sending and end the answer is produced.
    produced: f64,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Read,
    Produced,
    Head,
    End,
}

#[derive(Clone, Debug)]
struct Flight {
    sent: Timestamp,
    reserved: Amounts,
    used: Amounts,
    readings: Readings,
}

/// A book of one domain, and the provider behind it.
struct Client {
    book: Book,
    provider: Provider,
    now: Timestamp,
    flights: Vec<Flight>,
    /// By time and order.
    events: std::collections::BTreeMap<(Timestamp, usize), (usize, Event)>,
    under_way: Amounts,
    /// The part of it that is not debited, or will not be used.
    back: Amounts,
    refused: usize,
    sent: usize,
    /// From the first reading on: by how much the account may be behind beside what is under way.
    behind: Option<Amounts>,
}

const NAME: &str = "m";

impl Client {
    fn new(provider: Provider) -> Self {
        Self {
            book: book(1),
            provider,
            now: START,
            flights: Vec::new(),
            events: std::collections::BTreeMap::new(),
            under_way: [0.0; DIMENSIONS],
            back: [0.0; DIMENSIONS],
            refused: 0,
            sent: 0,
            behind: None,
        }
    }

    fn advance(&mut self, to: Timestamp) {
        self.provider.advance(to, &self.back);
        self.now = to;
    }

    /// All that happens up to an instant.
    fn pass(&mut self, until: Timestamp) -> Result<(), TestCaseError> {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= until
        {
            let ((time, _), (flight, event)) = entry.remove_entry();
            self.advance(time);
            self.happen(flight, event);
            self.check()?;
        }
        self.advance(until);
        Ok(())
    }

    fn happen(&mut self, at: usize, event: Event) {
        let name = group(NAME);
        let now = self.now;
        let flight = &mut self.flights[at];
        match event {
            Event::Read => flight.readings = self.provider.readings(),
            Event::Produced => {
                self.provider
                    .produce(&flight.reserved, &flight.used, &self.back);
                if self.provider.habit == Habit::Anthropic {
                    self.back[2] -= flight.used[2];
                }
            }
            Event::Head => {
                let (readings, sent) = (&flight.readings, flight.sent);
                self.book
                    .answered(0, &name, readings, &flight.reserved, sent, now);
                self.under_way[0] -= 1.0;
                self.begin(now.since(sent));
            }
            Event::End => {
                let used = Ending::Served(flight.used.map(Some));
                let (reserved, sent) = (flight.reserved, flight.sent);
                self.book
                    .settle(0, &name, &used, &reserved, true, sent, now);
                let [_, under_way @ ..] = &mut self.under_way;
                let [_, back @ ..] = &mut self.back;
                let [_, reserved @ ..] = reserved;
                let [_, used @ ..] = flight.used;
                for (sum, reserved) in under_way.iter_mut().zip(reserved) {
                    *sum -= reserved;
                }
                for ((sum, reserved), used) in back.iter_mut().zip(reserved).zip(used) {
                    *sum -= reserved - used;
                }
            }
        }
    }

    /// The first reading was rounded and on its way for so long.
    fn begin(&mut self, on_its_way: Duration) {
        if self.behind.is_some() {
            return;
        }
        let mut behind = self.under_way;
        for (behind, bucket) in behind.iter_mut().zip(&self.provider.buckets) {
            if let Some(bucket) = bucket {
                let (below, above) = bucket.rounding();
                *behind += below + above + bucket.rate * on_its_way.as_secs_f64();
            }
        }
        self.behind = Some(behind);
    }

    /// The account is never ahead of the bucket, and behind it by no more than what may come back.
    fn check(&self) -> Result<(), TestCaseError> {
        let Some(behind) = self.behind else {
            return Ok(());
        };
        for (at, dimension) in Dimension::ALL.into_iter().enumerate() {
            let Some(bucket) = &self.provider.buckets[at] else {
                continue;
            };
            let level = level(&self.book, 0, NAME, dimension, self.now);
            let ahead = level - bucket.level;
            prop_assert!(
                ahead <= bucket.lead + 1e-6 * bucket.limit,
                "{dimension:?} is ahead by {ahead}, may be by {}",
                bucket.lead
            );
            if !bucket.ran_over {
                let most = self.under_way[at] + behind[at];
                prop_assert!(-ahead <= most + 1e-6, "{dimension:?}: {} > {most}", -ahead);
            }
        }
        Ok(())
    }

    /// Sends one as soon as there is room, but not later than in a minute.
    fn send(&mut self, job: &Job) -> Result<(), TestCaseError> {
        let reserved = [1.0, job.input, job.output, job.input + job.output];
        let (input, output) = (job.input * job.used.0, job.output * job.used.1);
        let used = [1.0, input, output, input + output];
        self.pass(self.now + Duration::from_millis(job.gap))?;
        let latest = self.now + MINUTE;
        loop {
            match ask(&self.book, 0, NAME, &reserved, self.now) {
                Room::Open(_) => break,
                Room::Beyond => prop_assert!(false, "limits are stated"),
                Room::Closed { until, .. } if latest < until => return Ok(()),
                Room::Closed { until, event } => {
                    prop_assert!(self.now < until, "closed until the past");
                    let next = self.events.first_key_value().map(|((time, _), _)| *time);
                    let soon = next.filter(|next| *next < until);
                    self.pass(soon.unwrap_or(until))?;
                    if soon.is_none() && !event {
                        let room = ask(&self.book, 0, NAME, &reserved, self.now);
                        prop_assert!(is_open(room), "not open at its instant: {room:?}");
                    }
                }
            }
        }
        self.go(job, reserved, used)
    }

    fn go(&mut self, job: &Job, reserved: Amounts, used: Amounts) -> Result<(), TestCaseError> {
        let (now, name) = (self.now, group(NAME));
        self.sent += 1;
        self.book.take(0, &name, Some(NAME), &reserved, now);
        let lack = self.provider.admit(&reserved, &used);
        if lack != [0.0; DIMENSIONS] {
            self.refused += 1;
            for (lack, bucket) in lack.iter().zip(&self.provider.buckets) {
                let Some(bucket) = bucket else { continue };
                let may = bucket.lead + 4e-6 * bucket.limit;
                prop_assert!(self.behind.is_none() || *lack <= may, "{lack} > {may}");
            }
            self.refuse(&lack, &reserved);
            return Ok(());
        }
        for at in 0..DIMENSIONS {
            self.under_way[at] += reserved[at];
            self.back[at] += reserved[at] - used[at];
        }
        if self.provider.habit == Habit::Anthropic {
            self.back[2] += used[2];
        }
        let head = now + Duration::from_millis(job.head);
        let end = head + Duration::from_millis(job.body);
        let part = |of: Duration, part: f64| now + of.mul_f64(part);
        let at = self.flights.len();
        let times = [
            (part(head.since(now), job.read), Event::Read),
            (head, Event::Head),
            (part(end.since(now), job.produced), Event::Produced),
            (end, Event::End),
        ];
        for (order, (time, event)) in times.into_iter().enumerate() {
            self.events.insert((time, at * 4 + order), (at, event));
        }
        self.flights.push(Flight {
            sent: now,
            reserved,
            used,
            readings: Readings::NONE,
        });
        self.check()
    }

    /// The refusal comes at once, and its `retry-after` in whole seconds is obeyed (16.7).
    fn refuse(&mut self, lack: &Amounts, reserved: &Amounts) {
        let (now, name) = (self.now, group(NAME));
        let readings = self.provider.readings();
        let none = [0.0; DIMENSIONS];
        let book = &mut self.book;
        book.settle(0, &name, &Ending::Returned, reserved, false, now, now);
        book.read(0, &name, &readings, &none, now, now);
        self.begin(Duration::ZERO);
        for (behind, amount) in self.behind.iter_mut().flatten().zip(reserved) {
            // What it needed and the bucket had.
            *behind += amount;
        }
        let words = [
            Scope::REQUESTS,
            Scope::INPUT_TOKENS,
            Scope::OUTPUT_TOKENS,
            Scope::TOKENS,
        ];
        let mut wait = 0.0_f64;
        for (at, lack) in lack.iter().enumerate() {
            if let (true, Some(bucket)) = (*lack > 0.0, &self.provider.buckets[at]) {
                wait = wait.max((lack / bucket.rate).ceil());
                let stated = Some(Duration::from_secs_f64(wait));
                self.book
                    .refused(0, &name, words[at], stated, reserved, now, now);
            }
        }
    }
}

fn job() -> impl Strategy<Value = Job> {
    let times = (
        prop_oneof![12 => 0_u64..50, 2 => 50_u64..3_000, 1 => 3_000_u64..40_000],
        prop_oneof![3 => 0_u64..2_000, 1 => 2_000_u64..20_000],
        prop_oneof![3 => 0_u64..3_000, 1 => 3_000_u64..60_000],
    );
    let sizes = (1_u32..9_000, 1_u32..2_000, 0.0_f64..=1.0, 0.0_f64..=1.0);
    (times, sizes, 0.0_f64..=1.0, 0.0_f64..=1.0).prop_map(
        |((gap, head, body), (input, output, one, two), read, produced)| Job {
            gap,
            input: f64::from(input),
            output: f64::from(output),
            used: (one, two),
            head,
            body,
            read,
            produced,
        },
    )
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![Just(Habit::Anthropic), Just(Habit::OpenAi)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // 16.3, 16.4, 16.5
    #[test]
    fn an_account_lets_nothing_go_that_the_bucket_refuses_and_is_behind_by_what_may_come_back_only(
        habit in habit(),
        requests in prop_oneof![5_u32..400, 1_000_u32..9_000],
        tokens in prop_oneof![1 => 12_u32..60, 1 => 60_u32..400],
        fullness in 0.0_f64..=1.0,
        jobs in prop::collection::vec(job(), 1..120),
    ) {
        let tokens = f64::from(tokens) * 1e3;
        let mut client = Client::new(Provider::new(habit, f64::from(requests), tokens, fullness));
        for job in &jobs {
            client.send(job)?;
        }
        let end = client.now + seconds(120);
        client.pass(end)?;
        prop_assert!(client.sent > 0);
    }
}
