//! Real file systems for a test: small, mounted for it alone, unmounted with it.
//!
//! Mounting needs root and a machine that lets it; [`SmallDisk::mount`] says whether it could.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scratch::Scratch;

/// A mounted file system of a few megabytes.
#[derive(Debug)]
pub struct SmallDisk {
    mounted: PathBuf,
    // Removed after the file system was unmounted.
    scratch: Scratch,
}

/// Which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In memory.
    Tmpfs,
    /// On a file, by a loop device; it becomes read-only at its first error, as an installed box's does.
    Ext4,
}

impl SmallDisk {
    /// Mounts one; `None` with a word on standard error where this is not possible.
    pub fn mount(kind: Kind, mebibytes: u32) -> Option<Self> {
        let scratch = Scratch::new();
        let mounted = scratch.path().join("disk");
        fs::create_dir(&mounted).expect("the scratch directory is there");
        let place = mounted.display().to_string();
        let done = match kind {
            Kind::Tmpfs => succeeds("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs", &place]),
            Kind::Ext4 => {
                let image = scratch.path().join("image");
                let file = fs::File::create(&image).expect("the scratch directory is there");
                file.set_len(u64::from(mebibytes) * 1024 * 1024).expect("a file can be made longer");
                let image = image.display().to_string();
                succeeds("mkfs.ext4", &["-q", "-m", "0", &image])
                    && succeeds("mount", &["-o", "loop,errors=remount-ro", &image, &place])
            }
        };
        if !done {
            eprintln!("NOT RUN: this machine lets nobody mount a file system of kind {kind:?}");
            return None;
        }
        Some(Self { mounted, scratch })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Takes all the room that is left, in a file that [`SmallDisk::make_room`] removes.
    pub fn fill(&self) {
        let file = fs::File::create(self.ballast()).expect("a full disk still has names");
        let mut step: u64 = 1024 * 1024;
        let mut length = file.metadata().map_or(0, |metadata| metadata.len());
        while step >= 4096 {
            let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, step);
            if taken.is_ok() { length += step } else { step /= 2 }
        }
    }

    /// Gives the room back.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast is there");
    }

    /// Makes it read-only while files are open for writing, as the kernel does after an error of the device.
    pub fn break_down(&self) {
        let source = mount_source(&self.mounted);
        let device = Path::new(&source).file_name().expect("a device has a name").to_owned();
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        fs::write(trigger, "a test wants to see what happens").expect("ext4 can be told to have an error");
    }

    /// Checks and mounts anew a disk of the kind [`Kind::Ext4`] that no process uses, `options` with it: `rw`, `ro`.
    pub fn mount_again(&self, options: &str) {
        let place = self.mounted.display().to_string();
        assert!(succeeds("umount", &[&place]), "nobody uses it");
        let image = self.scratch.path().join("image").display().to_string();
        // It says 1 when it has mended something.
        let _ = Command::new("e2fsck").args(["-f", "-y", &image]).output();
        assert!(
            succeeds("mount", &["-o", &format!("loop,errors=remount-ro,{options}"), &image, &place]),
            "it is mounted"
        );
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a process under test may still be ending.
        if !succeeds("umount", &["-l", &self.mounted.display().to_string()]) {
            eprintln!("unmount {}: it stays", self.mounted.display());
        }
    }
}

fn mount_source(place: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").expect("Linux tells what is mounted");
    let place = place.display().to_string();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(&place)).expect("it is mounted");
    line.split(' ').next().unwrap_or_default().to_owned()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    let Ok(output) = output else { return false };
    if !output.status.success() {
        eprintln!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}
