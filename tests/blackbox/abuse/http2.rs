//! The known attacks on HTTP/2, frame by frame: rapid reset (CVE-2023-44487), CONTINUATION without end
//! (CVE-2024-27316), SETTINGS and PING floods (CVE-2019-9515, -9512), empty frames (CVE-2019-9518), windows of
//! nothing (CVE-2019-9517), MadeYouReset (CVE-2025-8671) and the HPACK bomb (CVE-2016-6581).

use std::time::Duration;

use super::frames::{
    ACK, Attacker, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, integer, literal, request,
};
use super::upstream::{ENDLESS, INFER};
use super::{MIB, SOON, Victim, eventually};

const WINDOW: u32 = 65_535;
/// Who says nothing for so long takes nothing more.
const FULL: Duration = Duration::from_millis(500);
/// More than sockets hold between two processes.
const MORE_THAN_FITS: u64 = 32 * MIB;

/// Stream numbers of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    let victim = Victim::start("idle_timeout: 60s").await;
    for _ in 0..5 {
        let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
        let mut burst = Vec::new();
        for stream in streams().take(2_000) {
            let block = request("GET", INFER);
            burst.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block));
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        attacker.say(&burst).await;
        let frames = attacker.until_shown_the_door(SOON).await;
        // 11: ENHANCE_YOUR_CALM. It may be lost in the reset that follows.
        let reasons: Vec<u8> = frames
            .iter()
            .filter(|frame| frame.kind == GOAWAY)
            .map(|frame| frame.payload[7])
            .collect();
        assert!(reasons.iter().all(|reason| *reason == 11), "{reasons:?}");
    }
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

/// Slow enough for each stream to be looked at: then it is work, and has to be bounded as work is.
#[tokio::test]
async fn resets_one_by_one_leave_nothing_behind() {
    let victim = Victim::start("idle_timeout: 60s").await;
    let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
    for stream in streams().take(1_000) {
        let open = frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &request("GET", ENDLESS),
        );
        if !attacker.say(&open).await {
            break;
        }
        tokio::task::yield_now().await;
        attacker
            .say(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
            .await;
    }
    eventually("none is in flight", SOON, async || {
        (victim.gauge("http_server_active_requests").await <= 1).then_some(())
    })
    .await;
    victim.grew_by_at_most(16 * MIB);
    drop(attacker);
    victim.recovers().await;
}

#[tokio::test]
async fn made_you_reset_ends_the_connection() {
    let victim = Victim::start("idle_timeout: 60s").await;
    // Three ways to make the other side reset a stream: a window update of nothing, one of too much, and data
    // after the end.
    let provocations: [fn(u32) -> Vec<u8>; 3] = [
        |stream| frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()),
        |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()),
        |stream| frame(DATA, 0, stream, b"more"),
    ];
    for provoke in provocations {
        let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
        for stream in streams().take(5_000) {
            let block = request("GET", ENDLESS);
            let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
            both.extend(provoke(stream));
            if !attacker.say(&both).await {
                break;
            }
        }
        let frames = attacker.until_shown_the_door(SOON).await;
        let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
        assert!(resets.count() < 1_000, "it went on resetting");
    }
    victim.grew_by_at_most(32 * MIB);
    victim.recovers().await;
}

#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    let victim = Victim::start("max_header_bytes: 32KiB").await;
    for payload in [Vec::new(), literal("x", "y"), vec![0; 16_000]] {
        let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
        attacker
            .say(&frame(HEADERS, END_STREAM, 1, &request("GET", INFER)))
            .await;
        let piece = frame(CONTINUATION, 0, 1, &payload).repeat(50);
        let taken = attacker.pour(&piece, MORE_THAN_FITS, FULL).await;
        assert!(
            taken < MORE_THAN_FITS,
            "{taken} bytes of one head were taken"
        );
        attacker.until_shown_the_door(SOON).await;
    }
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

#[tokio::test]
async fn an_hpack_bomb_is_not_unpacked() {
    let victim = Victim::start("max_header_bytes: 32KiB").await;
    let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
    // One entry of almost the whole table, then its index (62), thousands of times.
    let mut entry = vec![0x40];
    for text in ["bomb", &"x".repeat(3_900)] {
        entry.extend(integer(0x00, 7, text.len()));
        entry.extend_from_slice(text.as_bytes());
    }
    let mut refused = 0;
    for stream in streams().take(50) {
        let mut block = request("GET", INFER);
        if stream == 1 {
            block.extend(&entry);
        }
        block.extend([0x80 | 62; 10_000]);
        if !attacker
            .say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block))
            .await
        {
            break;
        }
    }
    let answers = async {
        while let Some(frame) = attacker.read().await {
            match frame.kind {
                HEADERS => {
                    // A status of 200 is the table's entry 8 (RFC 7541, appendix A).
                    assert_ne!(frame.payload.first(), Some(&0x88), "it was served");
                    refused += 1;
                }
                RST_STREAM => refused += 1,
                GOAWAY => break,
                _ => {}
            }
            if refused >= 50 {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, answers)
        .await
        .expect("answers, or an end");
    victim.grew_by_at_most(16 * MIB);
    drop(attacker);
    victim.recovers().await;
}

/// Frames that ask for an answer, from somebody who doesn't take answers.
async fn unheard_answers(piece: Vec<u8>) {
    let victim = Victim::start("idle_timeout: 2s").await;
    let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
    let taken = attacker
        .pour(&piece.repeat(1_000), MORE_THAN_FITS, FULL)
        .await;
    assert!(taken < MORE_THAN_FITS, "{taken} bytes were taken");
    victim.grew_by_at_most(16 * MIB);
    // Its answers are stuck; that is not waited for without end.
    eventually("the attacker is cut off", SOON, async || {
        (victim.gauge("serin_connections").await <= 1).then_some(())
    })
    .await;
    victim.recovers().await;
}

#[tokio::test]
async fn a_settings_flood_is_not_queued() {
    unheard_answers(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])).await;
}

#[tokio::test]
async fn a_ping_flood_is_not_queued() {
    unheard_answers(frame(PING, 0, 0, b"12345678")).await;
}

/// From somebody who takes the answers, a flood is work, and others get their share of the time.
#[tokio::test]
async fn floods_that_are_answered_starve_nobody() {
    let victim = Victim::start("idle_timeout: 60s").await;
    let opened = frame(HEADERS, END_HEADERS, 1, &request("POST", INFER));
    for (open, flood) in [
        (None, frame(PING, 0, 0, b"12345678")),
        (None, frame(SETTINGS, 0, 0, &[])),
        (Some(opened), frame(DATA, 0, 1, &[])),
    ] {
        let mut attacker = Attacker::connect(victim.address(), WINDOW).await;
        if let Some(open) = open {
            attacker.say(&open).await;
        }
        let Attacker { stream } = attacker;
        let (mut reads, mut writes) = stream.into_split();
        let sink =
            tokio::spawn(async move { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await });
        let flood = flood.repeat(1_000);
        let pouring = async {
            // Until it is shown the door, which is an answer too.
            while tokio::io::AsyncWriteExt::write_all(&mut writes, &flood)
                .await
                .is_ok()
            {}
        };
        let poured = tokio::time::timeout(Duration::from_secs(1), pouring).await;
        victim.bystander.is_served().await;
        drop(poured);
        sink.abort();
    }
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

#[tokio::test]
async fn windows_of_nothing_hold_little_and_not_for_ever() {
    // Long enough for all of them to be asked before the first is given up.
    let victim = Victim::start("idle_timeout: 6s").await;
    let mut attacker = Attacker::connect(victim.address(), 0).await;
    for stream in streams().take(200) {
        let open = frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &request("GET", ENDLESS),
        );
        assert!(attacker.say(&open).await);
    }
    eventually("they are in flight", SOON, async || {
        (victim.gauge("http_server_active_requests").await >= 200).then_some(())
    })
    .await;
    victim.grew_by_at_most(64 * MIB);
    // It answers everything that keeps a connection alive, and takes no data.
    let staying = async {
        while let Some(came) = attacker.read().await {
            if came.kind == PING && came.flags & ACK == 0 {
                attacker.say(&frame(PING, ACK, 0, &came.payload)).await;
            }
            assert!(came.kind != DATA || came.stream == 0 || came.payload.is_empty());
        }
    };
    let ended = async {
        eventually("its requests are given up", SOON, async || {
            (victim.gauge("http_server_active_requests").await <= 1).then_some(())
        })
        .await;
    };
    tokio::select! {
        () = ended => {}
        () = async { staying.await; std::future::pending::<()>().await } => {}
    }
    drop(attacker);
    victim.recovers().await;
}
