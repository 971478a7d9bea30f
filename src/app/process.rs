//! What the process asks of the system at its start: as many files as it may have, and no copy of its memory.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Raises the limit of open files to the hard one, and turns core files and tracing by others off. What the system
/// refuses is told by a warning: the proxy works without.
pub fn prepare() {
    let files = getrlimit(Resource::Nofile);
    if files.current != files.maximum
        && setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files.maximum,
                maximum: files.maximum,
            },
        )
        .is_err()
    {
        tracing::warn!("the limit of open files could not be raised");
    }
    if setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .is_err()
    {
        tracing::warn!("core files could not be turned off");
    }
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        tracing::warn!("the process could not be made undumpable");
    }
}
