// SPDX-License-Identifier: GPL-2.0

//! Something that is done now and then, for as long as somebody wants it.
//!
//! The timer ends with the value that [`start`] returns: when that is dropped, nothing runs any more and nothing of it is
//! pending. So a timer does not outlive its module, which a delayed work item of the kernel crate may.

use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    },
};

/// What a timer does.
pub trait Tick: Send + Sync + 'static {
    /// Called in interrupt context: queues work, and says after what time it is to be called again, if it is.
    fn tick(this: &Arc<Self>) -> Option<Delta>;
}

/// A timer that runs; its drop waits for a call that is under way. Not to be dropped in interrupt context.
pub struct Ticking<T: Tick>(#[expect(dead_code)] ArcHrTimerHandle<Timer<T>>);

#[pin_data]
struct Timer<T: Tick> {
    #[pin]
    timer: HrTimer<Self>,
    target: Arc<T>,
}

impl_has_hr_timer! {
    impl{T: Tick} HasHrTimer<Self> for Timer<T> {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl<T: Tick> HrTimerCallback for Timer<T> {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        match T::tick(&this.target) {
            Some(delay) => {
                context.forward_now(delay);
                HrTimerRestart::Restart
            }
            None => HrTimerRestart::NoRestart,
        }
    }
}

/// Has `target` called after `delay`.
///
/// # Errors
///
/// `ENOMEM`.
pub fn start<T: Tick>(target: &Arc<T>, delay: Delta) -> Result<Ticking<T>> {
    let timer = Arc::pin_init(
        pin_init!(Timer {
            timer <- HrTimer::new(),
            target: target.clone(),
        }),
        GFP_KERNEL,
    )?;
    Ok(Ticking(timer.start(delay)))
}
