// SPDX-License-Identifier: GPL-2.0

//! Waiting that ends, and says what it waited for.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::times::sleep;

/// What one look at a condition found.
pub enum Seen<T> {
    /// It holds; this is what came of it.
    Yes(T),
    /// It does not hold yet; this is what was seen instead.
    NotYet(String),
}

/// How much longer than usual everything may take: `DEVLEND_PATIENCE`, 1 to 100, for kernels that check more.
static PATIENCE: LazyLock<u32> = LazyLock::new(|| {
    let patience = std::env::var("DEVLEND_PATIENCE");
    let patience = patience.ok().and_then(|value| value.parse().ok());
    patience.unwrap_or(1).clamp(1, 100)
});

/// A limit of time, as long as it has to be here.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    limit.saturating_mul(*PATIENCE)
}

/// Looks at a condition until it holds, for at most `limit`, or that times `DEVLEND_PATIENCE`.
///
/// # Errors
///
/// The error of a look ends the wait. When the limit is reached, the error says for what (`what` completes the
/// sentence "waited for ...") and what was seen last.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let limit = patient(limit);
    let start = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match look()? {
            Seen::Yes(value) => return Ok(value),
            Seen::NotYet(last) if start.elapsed() >= limit => {
                bail!("waited {:.0?} for {what}; last seen: {last}", limit)
            }
            Seen::NotYet(_) => sleep(pause),
        }
        // Short waits are met quickly, long ones do not keep the machine busy.
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_waited_for_and_what_it_saw() {
        let limit = Duration::from_millis(20);
        let error =
            until("a miracle", limit, || Ok(Seen::<()>::NotYet("rain".into()))).unwrap_err();
        let waited = patient(limit);
        assert_eq!(
            error.to_string(),
            format!("waited {waited:?} for a miracle; last seen: rain")
        );
    }

    #[test]
    fn ends_with_the_value() {
        let mut looks = 0;
        let value = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 {
                Seen::Yes(looks)
            } else {
                Seen::NotYet(looks.to_string())
            })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn an_error_ends_the_wait() {
        let error =
            until::<()>("nothing", Duration::from_secs(60), || bail!("broken")).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }
}
