//! A shard's identity as the journal spells it. `docs/archive-format.md` has the bytes.
//!
//! Invariant: one file has the same bytes in every boot, and two files have different ones. Pure.

use metricsd_shard::Identity;

use crate::archive::IdentityKey;

/// First byte; another spelling gets another number, so that no two spellings meet.
const VERSION: u8 = 1;

/// What follows, as bits of the second byte.
const HAS_FILE_SYSTEM: u8 = 1;
const HAS_BIRTH: u8 = 2;
const HAS_GENERATION: u8 = 4;
const HAS_INSTANCE: u8 = 8;

/// The journal's name for a file.
///
/// The file system's ID is a part of it only where the inode's birth is not known. That of ext4 and btrfs is made of the UUID
/// and stays, but xfs makes it of the device number, which another order of disks changes, and tmpfs of nothing that lasts: a
/// file that got a new name by a reboot would be counted as missing and, once more, as new. Inode and birth to the nanosecond
/// tell files of one directory apart by themselves, whatever is mounted there; a snapshot of the file system that is mounted
/// in its place holds the same counts, and is to be taken for the same files.
pub fn identity_key(identity: &Identity) -> IdentityKey {
    let mut bytes = vec![VERSION, 0];
    let mut flags = 0;
    let mut put = |flag: u8, part: &[u8]| {
        flags |= flag;
        bytes.extend_from_slice(part);
    };
    put(0, &identity.inode.to_le_bytes());
    match identity.birth {
        None => put(HAS_FILE_SYSTEM, &identity.file_system.to_le_bytes()),
        Some(birth) => {
            put(HAS_BIRTH, &birth.unix_seconds.to_le_bytes());
            put(0, &birth.nanoseconds.to_le_bytes());
        }
    }
    if let Some(generation) = identity.generation {
        put(HAS_GENERATION, &generation.to_le_bytes());
    }
    if let Some(instance) = identity.instance {
        put(HAS_INSTANCE, &instance.bits().to_le_bytes());
    }
    bytes[1] = flags;
    IdentityKey::new(&bytes).expect("at most 42 bytes are put together here")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use metricsd_shard::{BirthTime, Instance};

    use super::*;

    const SAMPLE: Identity = Identity {
        file_system: 0x1111_2222_3333_4444,
        inode: 0x0102,
        birth: Some(BirthTime {
            unix_seconds: 1_700_000_000,
            nanoseconds: 999,
        }),
        generation: Some(7),
        instance: Some(Instance::from_bits(0xff)),
    };

    #[test]
    fn bytes_are_those_of_the_documentation() {
        let mut expected = vec![1, 2 | 4 | 8];
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend(1_700_000_000_i64.to_le_bytes());
        expected.extend([0xe7, 0x03, 0, 0]);
        expected.extend([7, 0, 0, 0]);
        expected.push(0xff);
        expected.extend([0; 15]);
        assert_eq!(identity_key(&SAMPLE).as_bytes(), expected);
        let bare = Identity {
            birth: None,
            generation: None,
            instance: None,
            ..SAMPLE
        };
        let expected = [
            1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0x44, 0x44, 0x33, 0x33, 0x22, 0x22, 0x11, 0x11,
        ];
        assert_eq!(identity_key(&bare).as_bytes(), expected);
    }

    #[test]
    fn whatever_tells_files_apart_makes_other_bytes() {
        let birth = |unix_seconds, nanoseconds| {
            Some(BirthTime {
                unix_seconds,
                nanoseconds,
            })
        };
        let others = [
            SAMPLE,
            Identity { inode: 3, ..SAMPLE },
            Identity {
                birth: birth(1_700_000_001, 999),
                ..SAMPLE
            },
            Identity {
                birth: birth(1_700_000_000, 998),
                ..SAMPLE
            },
            Identity {
                birth: None,
                ..SAMPLE
            },
            Identity {
                birth: None,
                file_system: 5,
                ..SAMPLE
            },
            Identity {
                generation: Some(8),
                ..SAMPLE
            },
            Identity {
                generation: None,
                ..SAMPLE
            },
            Identity {
                instance: None,
                ..SAMPLE
            },
            Identity {
                instance: Some(Instance::from_bits(0xfe)),
                ..SAMPLE
            },
        ];
        let keys: HashSet<_> = others.iter().map(identity_key).collect();
        assert_eq!(keys.len(), others.len());
    }

    #[test]
    fn a_file_keeps_its_name_when_a_reboot_gives_its_file_system_another_id() {
        let later = Identity {
            file_system: 99,
            ..SAMPLE
        };
        assert_eq!(identity_key(&later), identity_key(&SAMPLE));
    }
}
