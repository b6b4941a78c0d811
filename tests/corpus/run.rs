//! The whole corpus, once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::good::{self, Recipe, source};
use crate::hostile::{self, Hostile};
use crate::judge::{Judgement, judge};
use crate::qemu::Workshop;
use crate::server::Server;

/// Images the corpus must have.
const LEAST: usize = 400;

/// An image to be made or made already.
#[derive(Debug)]
enum Case {
    Good(Recipe),
    Hostile(Hostile),
}

impl Case {
    fn name(&self) -> &str {
        match self {
            Self::Good(recipe) => &recipe.name,
            Self::Hostile(hostile) => &hostile.name,
        }
    }
}

/// What came of the images.
#[derive(Debug, Default)]
struct Tally {
    images: usize,
    same: usize,
    both_refuse: usize,
    differ: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, name: &str, result: Result<Vec<Judgement>, String>) {
        self.images += 1;
        match result {
            Err(error) => self.wrong.push(format!("{name}: {error}")),
            // A difference of one way counts, whatever the other way does.
            Ok(ways) => match ways.iter().find(|way| matches!(way, Judgement::Differ(_))) {
                Some(Judgement::Differ(reason)) => *self.differ.entry(reason).or_default() += 1,
                _ if ways.contains(&Judgement::BothRefuse) => self.both_refuse += 1,
                _ => self.same += 1,
            },
        }
    }

    fn print(&self, seconds: f64) {
        let differ: usize = self.differ.values().sum();
        println!(
            "corpus: {} images: {} good and the same by both ways, {} refused by both, {differ} listed differences, {} wrong; {seconds:.0} s",
            self.images,
            self.same,
            self.both_refuse,
            self.wrong.len()
        );
        for (reason, count) in &self.differ {
            println!("  {count:4}  {reason}");
        }
    }
}

#[test]
fn every_image_of_the_corpus_is_written_as_qemu_reads_it_or_refused() {
    let started = Instant::now();
    let Some(shop) = Workshop::open() else { return };
    // Another test may have installed it already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut cases: Vec<Case> = good::recipes().into_iter().map(Case::Good).collect();
    cases.extend(hostile::images(&shop).into_iter().map(Case::Hostile));
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&cases, &next, &tally));
        }
    });
    let tally = tally.into_inner().unwrap();
    tally.print(started.elapsed().as_secs_f64());
    assert!(tally.images >= LEAST, "{} images", tally.images);
    assert!(tally.wrong.is_empty(), "{} wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
}

/// Takes cases until none is left.
fn work(cases: &[Case], next: &AtomicUsize, tally: &Mutex<Tally>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http =
        reqwest::Client::builder().tls_certs_only(std::iter::empty()).build().unwrap().into();
    let server = runtime.block_on(Server::start());
    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
        // A folder of its own: files of one image must not be found by another.
        let shop = Workshop::new();
        let image = match case {
            Case::Good(recipe) => {
                shop.put("source.raw", &source());
                recipe.make(&shop)
            }
            Case::Hostile(hostile) => hostile.image.clone(),
        };
        let verdict = shop.convert(&image);
        let result = runtime.block_on(judge(&server, &http, &image, &verdict));
        tally.lock().unwrap().add(case.name(), result);
    }
}
