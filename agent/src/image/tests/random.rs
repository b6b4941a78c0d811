//! Random images: good ones are written exactly, damaged ones end in an error or in one and the same disk.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::builder::{Cluster, Recipe};
use super::disks::MemoryDisk;
use super::servers::Server;
use super::{chain, quick, request, sha256_hex, write_to};
use crate::image::tuning::Tuning;

fn cluster(extended: bool) -> BoxedStrategy<Cluster> {
    let plain = any::<u8>().prop_map(Cluster::Plain);
    let compressed = any::<u8>().prop_map(Cluster::Compressed);
    let simple = prop_oneof![Just(Cluster::Absent), Just(Cluster::Zero), plain, compressed];
    if !extended {
        return simple.boxed();
    }
    let parts = (any::<u8>(), any::<u32>(), any::<u32>())
        .prop_map(|(fill, stored, zero)| Cluster::Parts { fill, stored, zero: zero & !stored });
    prop_oneof![simple, parts].boxed()
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let shape = prop_oneof![
        (Just(9_u32), Just(false), 1..400_usize),
        (Just(12), Just(false), 1..120_usize),
        (Just(16), Just(false), 1..24_usize),
        (Just(14), Just(true), 1..60_usize),
    ];
    (shape, any::<bool>(), any::<u64>(), 0..4_usize).prop_flat_map(
        |((cluster_bits, extended, count), zstd, seed, short)| {
            let short = if cluster_bits > 11 { short * 512 } else { 0 };
            proptest::collection::vec(cluster(extended), count).prop_map(move |clusters| Recipe {
                cluster_bits,
                extended,
                zstd,
                clusters,
                short,
                seed,
            })
        },
    )
}

/// The disk after a write, or the error.
fn outcome(
    image: &[u8],
    disk_bytes: usize,
    ranges: bool,
    tuning: &Tuning,
) -> Result<Vec<u8>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::good(image.to_vec(), ranges).await;
        let disk = Arc::new(MemoryDisk::new(disk_bytes));
        let request = request(&server, &sha256_hex(image));
        match write_to(&server, &disk, &request, tuning).await {
            Ok(_) => Ok(disk.content()),
            Err(error) => {
                assert!(disk.is_untouched() || disk.has_no_table(), "{}", chain(&error));
                Err(chain(&error))
            }
        }
    })
}

/// With ranges; and without, with rings that hold everything, something and nothing.
fn ways() -> [(bool, Tuning); 4] {
    let small = Tuning { prefix_bytes: 4096, passes: 8, ..quick() };
    [
        (true, small.clone()),
        (false, quick()),
        (false, Tuning { ring_bytes: 20_000, ..small.clone() }),
        (false, Tuning { ring_bytes: 1, ..small }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_random_image_in_any_layout_is_written_exactly(recipe in recipe()) {
        let (image, expected) = (recipe.build(), recipe.expected());
        for (ranges, tuning) in ways() {
            let disk = outcome(&image, expected.len(), ranges, &tuning).map_err(TestCaseError::fail)?;
            prop_assert!(disk == expected, "ranges {ranges}, ring {}", tuning.ring_bytes);
        }
    }

    #[test]
    fn a_damaged_image_is_refused_or_read_the_same_in_every_way(
        recipe in recipe(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut image = recipe.build();
        // Damage where it matters: the first KiB has the header, the rest is hit at random.
        for (number, (place, value)) in damage.iter().enumerate() {
            let span = if number % 2 == 0 { image.len() } else { 112 };
            let place = place.index(span);
            image[place] = *value;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()).max(1));
        }
        let mut disks = Vec::new();
        for (ranges, tuning) in ways() {
            disks.extend(outcome(&image, 8 << 20, ranges, &tuning));
        }
        prop_assert!(disks.windows(2).all(|pair| pair[0] == pair[1]), "ways differ");
    }
}
