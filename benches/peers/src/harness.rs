//! Subjects side by side in one run: a slice of each, there and back again, and the first of them twice
//! in each round. What it differs from itself is the noise that all other ratios drown in.

use std::time::{Duration, Instant};

/// What is measured: told how often, it does it so often.
pub(crate) struct Subject<'a> {
    name: &'static str,
    run: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(name: &'static str, mut once: impl FnMut() + 'a) -> Self {
        let run = Box::new(move |times| (0..times).for_each(|_| once()));
        Self { name, run }
    }

    fn slice(&mut self, times: u64) -> f64 {
        let begun = Instant::now();
        (self.run)(times);
        begun.elapsed().as_nanos() as f64 / times as f64
    }

    /// How often fits in a slice.
    fn times(&mut self) -> u64 {
        let mut times = 1;
        loop {
            let begun = Instant::now();
            (self.run)(times);
            let took = begun.elapsed();
            if took >= SLICE / 4 {
                let fitting = times as f64 * SLICE.as_secs_f64() / took.as_secs_f64();
                return (fitting as u64).max(1);
            }
            times *= 2;
        }
    }
}

/// Prints what each takes, and its ratio to the first.
pub(crate) fn compare(title: &str, mut subjects: Vec<Subject<'_>>) {
    let times: Vec<u64> = subjects.iter_mut().map(Subject::times).collect();
    let slots: Vec<usize> = (0..subjects.len()).chain([0]).collect();
    let mut took = vec![Vec::new(); slots.len()];
    for round in 0..ROUNDS {
        let there = 0..slots.len();
        let order: Vec<usize> = match round % 2 {
            0 => there.collect(),
            _ => there.rev().collect(),
        };
        for slot in order {
            let subject = slots[slot];
            took[slot].push(subjects[subject].slice(times[subject]));
        }
    }

    println!("\n{title}");
    for (slot, subject) in slots.iter().enumerate() {
        let ratios: Vec<f64> = took[slot]
            .iter()
            .zip(&took[0])
            .map(|(a, b)| a / b)
            .collect();
        let name = match slot {
            0 => subjects[0].name.to_owned(),
            _ if *subject == 0 => format!("{}, once more (the null)", subjects[0].name),
            _ => subjects[*subject].name.to_owned(),
        };
        println!(
            "  {name:<44} {:>12} (best {:>12})   x {:.3} [{:.3} to {:.3}]",
            told(quantile(&took[slot], 0.5)),
            told(quantile(&took[slot], 0.0)),
            quantile(&ratios, 0.5),
            quantile(&ratios, 0.25),
            quantile(&ratios, 0.75),
        );
    }
}

pub(crate) fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}

pub(crate) fn told(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 10_000.0 => format!("{n:.1} ns"),
        n => format!("{:.1} us", n / 1000.0),
    }
}

const ROUNDS: usize = 40;
const SLICE: Duration = Duration::from_millis(15);
