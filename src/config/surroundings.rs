//! What the outside holds, as an argument: tests bring their own. [`Machine`] is the real one. Decides nothing but
//! how large a file may be.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::secret::Secret;

/// Environment, files and the machine's size.
pub trait Surroundings {
    /// An environment variable; `None` where it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// How many threads can run at once.
    fn cores(&self) -> usize;

    /// The memory that this process may take, in bytes: the control group's limit, else all there is. `None`:
    /// unknown.
    fn memory_limit(&self) -> Option<u64>;
}

/// The real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Surroundings for Machine {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        /// More than any configuration, certificate or key; less than would hurt.
        const LARGEST: usize = 16 << 20;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let expected = usize::try_from(metadata.len()).unwrap_or(LARGEST);
        Secret::read(file, expected, LARGEST).map(Secret::into_bytes)
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn memory_limit(&self) -> Option<u64> {
        memory_limit(&|path| std::fs::read_to_string(path).ok())
    }
}

/// The least of the machine's memory and the limits of all control groups that this process is in.
fn memory_limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let total = read(Path::new("/proc/meminfo")).and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    });
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        if number == "0" && controllers.is_empty() {
            least_limit(Path::new("/sys/fs/cgroup"), group, "memory.max", read)
        } else if controllers.split(',').any(|name| name == "memory") {
            let root = Path::new("/sys/fs/cgroup/memory");
            least_limit(root, group, "memory.limit_in_bytes", read)
        } else {
            None
        }
    });
    limits.chain(total).min()
}

/// A group's limit or that of one above it, whichever is least. Within a container the group's path may name what
/// is mounted at the root, hence the root always counts.
fn least_limit(
    root: &Path,
    group: &str,
    name: &str,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Option<u64> {
    let group = root.join(group.trim_start_matches('/'));
    let folders = group
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    folders
        .filter_map(|folder| read(&folder.join(name))?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, content)| (*content).to_owned())
        };
        assert_eq!(memory_limit(&read), expected);
    }

    const MEMORY: (&str, &str) = ("/proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_memory_limit_is_the_least_that_binds() {
        // F5
        check(&[], None);
        check(&[MEMORY], Some(1 << 20));
        let group = ("/proc/self/cgroup", "0::/a/b\n");
        let of = |limit| ("/sys/fs/cgroup/a/b/memory.max", limit);
        check(&[MEMORY, group, of("4096\n")], Some(4096));
        check(&[MEMORY, group, of("max\n")], Some(1 << 20));
        check(&[MEMORY, group, of("99999999999\n")], Some(1 << 20));
        let above = ("/sys/fs/cgroup/a/memory.max", "2048\n");
        check(&[MEMORY, group, of("4096\n"), above], Some(2048));
        let root = ("/sys/fs/cgroup/memory.max", "1000\n");
        check(&[MEMORY, group, root], Some(1000));
    }

    #[test]
    fn the_older_control_groups_count_as_well() {
        // F5
        let group = ("/proc/self/cgroup", "5:cpu,memory:/a\n3:pids:/a\n");
        let limit = ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n");
        let none = (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        check(&[MEMORY, group, limit, none], Some(4096));
        check(&[MEMORY, group, none], Some(1 << 20));
    }

    #[test]
    fn this_machine_has_a_core_and_memory() {
        assert!(1 <= Machine.cores());
        assert!(Machine.memory_limit().is_some_and(|limit| 1 << 20 < limit));
        assert!(Machine.file(Path::new("/")).is_err());
    }
}
