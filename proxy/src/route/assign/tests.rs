//! The hash is the reference's, the golden assignments are frozen, and shares are what they say.

use proptest::prelude::*;

use super::*;

/// The sanity check of the reference implementation (`tests/sanity_test.c` there): a buffer of known bytes,
/// hashed by length, without a seed and with one.
#[test]
fn xxh3_agrees_with_the_reference() {
    const PRIME32: u64 = 2_654_435_761;
    const PRIME64: u64 = 11_400_714_785_074_694_797;
    let mut generator = PRIME32;
    let buffer: Vec<u8> = std::iter::repeat_with(|| {
        let byte = (generator >> 56) as u8;
        generator = generator.wrapping_mul(PRIME64);
        byte
    })
    .take(403)
    .collect();
    for (length, plain, seeded) in [
        (0, 0x2D06_8005_38D3_94C2, 0xA8A6_B918_B2F0_364A),
        (1, 0xC44B_DFF4_074E_ECDB, 0x032B_E332_DD76_6EF8),
        (6, 0x27B5_6A84_CD2D_7325, 0x8458_9C11_6AB5_9AB9),
        (12, 0xA713_DAF0_DFBB_77E7, 0xE730_3E1B_2336_DE0E),
        (24, 0xA3FE_70BF_9D35_10EB, 0x850E_80FC_35BD_D690),
        (48, 0x397D_A259_ECBA_1F11, 0xADC2_CBAA_44AC_C616),
        (80, 0xBCDE_FBBB_2C47_C90A, 0xC6DD_0CB6_9953_2E73),
        (195, 0xCD94_217E_E362_EC3A, 0xBA68_003D_370C_B3D9),
        (403, 0xCDEB_804D_65C6_DEA4, 0x6259_F6EC_FD64_43FD),
    ] {
        assert_eq!(xxh3_64(&buffer[..length]), plain, "{length}");
        assert_eq!(
            xxh3_64_with_seed(&buffer[..length], PRIME64),
            seeded,
            "{length}"
        );
    }
}

/// Computed once with the reference implementation. A change here moves users of running rollouts between
/// arms.
#[test]
fn golden_assignments() {
    let digits = Salt::new(None, "digits", Some("9f86d081884c7d65"));
    let next_release = Salt::new(None, "digits", Some("60303ae22b998861"));
    let other_route = Salt::new(None, "chat", Some("9f86d081884c7d65"));
    let secret = Salt::new(Some(b"pepper"), "digits", Some("9f86d081884c7d65"));
    let plain = Salt::new(None, "everything-else", None);
    let check = |salt: Salt, key: &[u8], unit: u64, bucket: u8, slot: u16| {
        let found = salt.assign(key);
        let lowest = u64::from(slot) << 8 | u64::from(bucket);
        assert_eq!(
            found.place % (1 << 24),
            lowest,
            "bucket and slot are of the place"
        );
        let expected = Assignment {
            unit: unit as f64 / (1_u64 << 53) as f64,
            bucket,
            slot,
            place: found.place,
        };
        assert_eq!(found, expected, "{salt:?} {key:?}");
    };
    check(digits, b"user-1", 635_964_806_010_636, 194, 14_112);
    check(digits, b"user-2", 4_939_006_448_639_160, 186, 44_399);
    check(digits, b"user-3", 1_889_074_958_281_991, 115, 22_281);
    check(next_release, b"user-1", 382_261_760_156_553, 194, 14_112);
    check(other_route, b"user-1", 3_688_707_725_467_443, 194, 14_112);
    check(secret, b"user-1", 1_962_367_370_177_615, 194, 14_112);
    check(plain, b"", 1_303_507_304_461_844, 150, 58_311);
    check(digits, &[127, 0, 0, 1], 7_509_758_044_825_072, 193, 31_141);
    let mail = "zoë@example.com".as_bytes();
    check(digits, mail, 1_208_947_836_661_298, 188, 42_442);
    check(digits, &[b'k'; 300], 4_618_209_227_661_561, 58, 28_243);

    let arm = |key: &[u8]| digits.assign(key).arm(0.25);
    assert_eq!(
        [arm(b"user-1"), arm(b"user-2"), arm(b"user-3")],
        [Arm::Canary, Arm::Baseline, Arm::Canary]
    );
}

#[test]
fn salts_keep_their_parts_apart() {
    let salts = [
        Salt::new(None, "ab", None),
        Salt::new(None, "ab", Some("")),
        Salt::new(None, "a", Some("b")),
        Salt::new(None, "", Some("ab")),
        Salt::new(Some(b""), "ab", None),
        Salt::new(Some(b"a"), "b", None),
        Salt::new(Some(b"ab"), "", None),
    ];
    for (at, salt) in salts.iter().enumerate() {
        assert!(!salts[..at].contains(salt), "salt {at} is not new");
    }
}

#[test]
fn shares_are_what_they_say_and_users_only_move_forward() {
    let salt = Salt::new(None, "digits", Some("9f86d081884c7d65"));
    let users: Vec<Assignment> = (0..100_000)
        .map(|user| salt.assign(format!("user-{user}").as_bytes()))
        .collect();
    let mut before: Vec<Arm> = vec![Arm::Baseline; users.len()];
    for share in [0.0, 0.05, 0.25, 0.5, 1.0] {
        let arms: Vec<Arm> = users.iter().map(|user| user.arm(share)).collect();
        let canary = arms.iter().filter(|&&arm| arm == Arm::Canary).count();
        let actual = canary as f64 / users.len() as f64;
        assert!((actual - share).abs() <= 0.006, "{actual} for {share}");
        assert!(
            before.iter().zip(&arms).all(|(before, now)| before <= now),
            "someone went back at {share}"
        );
        before = arms;
    }
    assert!(before.iter().all(|&arm| arm == Arm::Canary));
}

/// Chi-squared of independence over a table of `unit` (in 8 parts) by the given class.
fn chi_squared(users: &[Assignment], classes: usize, class: impl Fn(&Assignment) -> usize) -> f64 {
    const PARTS: usize = 8;
    let mut table = vec![[0.0_f64; PARTS]; classes];
    for user in users {
        table[class(user)][(user.unit * PARTS as f64) as usize] += 1.0;
    }
    let expected = users.len() as f64 / (classes * PARTS) as f64;
    let cells = table.iter().flatten();
    cells
        .map(|&count| (count - expected).powi(2) / expected)
        .sum()
}

#[test]
fn buckets_and_slots_know_nothing_of_the_arm() {
    for prefix in ["", "user-", "a-rather-long-prefix-of-a-user-id-0123456789-"] {
        let salt = Salt::new(None, "digits", Some("9f86d081884c7d65"));
        let users: Vec<Assignment> = (0..200_000)
            .map(|user| salt.assign(format!("{prefix}{user}").as_bytes()))
            .collect();
        // All cells equally likely: 2,047 and 511 degrees of freedom, bounds at about p = 1e-6.
        let buckets = chi_squared(&users, 256, |user| usize::from(user.bucket));
        assert!(buckets < 2_370.0, "{prefix}: {buckets}");
        let slots = chi_squared(&users, 64, |user| usize::from(user.slot) % 64);
        assert!(slots < 680.0, "{prefix}: {slots}");
        let high = chi_squared(&users, 64, |user| usize::from(user.slot) / 1024);
        assert!(high < 680.0, "{prefix}: {high}");
    }
}

proptest! {
    #[test]
    fn a_larger_share_never_takes_a_key_from_the_canary(
        key in prop::collection::vec(any::<u8>(), 0..64),
        secret in prop::option::of(prop::collection::vec(any::<u8>(), 0..32)),
        shares in (0.0..=1.0_f64, 0.0..=1.0_f64),
    ) {
        let assignment = Salt::new(secret.as_deref(), "route", Some("digest")).assign(&key);
        prop_assert!((0.0..1.0).contains(&assignment.unit));
        let (low, high) = (shares.0.min(shares.1), shares.0.max(shares.1));
        prop_assert!(assignment.arm(low) <= assignment.arm(high));
        prop_assert_eq!(assignment.arm(0.0), Arm::Baseline);
        prop_assert_eq!(assignment.arm(1.0), Arm::Canary);
    }
}
