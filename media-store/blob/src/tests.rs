//! Both stores pass `conformance`: the disk store in a folder, the S3 store with a SeaweedFS that is started here.

mod conformance;
mod samples;

pub(crate) use samples::{Scratch, contents, key, put, sample, sha256, shared_weed};

use crate::{FsStore, S3Store};

/// Runs each function of the suite against stores made by `$open`.
macro_rules! suite {
    ($name:ident, $open:expr, $($case:ident),* $(,)?) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (store, _guard) = $open;
                    conformance::$case(&store).await;
                }
            )*
        }
    };
}

macro_rules! everywhere {
    ($($case:ident),* $(,)?) => {
        suite!(disk, in_a_folder(), $($case),*);
        suite!(seaweed, in_a_bucket().await, $($case),*);
    };
}

everywhere!(
    what_was_put_is_read,
    ranges_are_exact,
    what_is_not_there_is_said_so,
    heads_tell,
    later_puts_replace,
    puts_race_whole,
    a_failed_put_keeps_the_file,
    small_puts_are_small,
    deletes,
    lists_in_pages,
    parts_make_an_object,
    a_part_is_replaced,
    a_commit_is_harmless_again,
    an_abort_leaves_nothing,
    no_parts_make_no_object,
    uploads_are_kept_as_json,
    orphans_are_found,
    foreign_uploads_do_nothing,
    it_can_be_written_to,
);

fn in_a_folder() -> (FsStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::open(folder.path().join("store")).unwrap();
    (store, folder)
}

async fn in_a_bucket() -> (S3Store, std::sync::Arc<samples::SharedWeed>) {
    let weed = shared_weed().await;
    (weed.store(), weed)
}
