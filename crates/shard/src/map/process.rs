//! Facts about threads and processes that the standard library does not offer: what happens at a fork, which signals a thread
//! takes, and when it runs.

use std::io;

/// Has `prepare` run in the parent before every fork, and `parent` and `child` after it, in the forking thread. For ever: there is
/// no way to take it back. The three must not panic.
///
/// # Errors
/// No memory.
pub(crate) fn at_fork(
    prepare: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: three functions of this program, which is never unloaded before its process ends; they take and return nothing, as
    // declared.
    let status = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    match status {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Has every thread of this process run a full memory fence before it returns: what a thread stored before its fence is seen by the caller
/// from then on, and what it does behind the fence sees everything that the caller stored before. False: the kernel does not do that for us
/// (before 4.14, or a sandbox), and only the caller has run one.
pub(crate) fn fence_all_threads() -> bool {
    let membarrier = |command: libc::c_int| {
        // SAFETY: no pointers; the call changes no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
    };
    let fence = || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
    // Refused until the process has said that it will ask, which every process has to say for itself.
    let is_done =
        fence() || (membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 && fence());
    if !is_done {
        // The caller's own half at least.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
    is_done
}

/// Makes the calling thread one for background work, whatever thread started it: no signal of the program's is delivered to it, and
/// it competes with others as any thread does.
pub(crate) fn become_background_thread() {
    block_signals_in_this_thread();
    leave_real_time_scheduling();
}

/// A new thread has the scheduling of the one that made it, which may be a real-time one.
fn leave_real_time_scheduling() {
    // SAFETY: no pointers; 0 is the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_OTHER || policy < 0 {
        return;
    }
    let lowest = libc::sched_param { sched_priority: 0 };
    // SAFETY: a pointer to a parameter that lives through the call; 0 is the calling thread. A failure changes nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const lowest) };
}

/// Keeps all signals away from the calling thread: they are meant for the program's own threads, and one that waits for SIGTERM
/// with every thread's mask closed must not find it taken by a thread that it does not know. A fault of this thread's own keeps its
/// signal, or the program's handler for it would never see it.
fn block_signals_in_this_thread() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a pointer to memory of the right size, which the call fills.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    for fault in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGSYS,
        libc::SIGTRAP,
    ] {
        // SAFETY: `all` was initialised by the call above; `fault` is a signal's number.
        unsafe { libc::sigdelset(all.as_mut_ptr(), fault) };
    }
    // SAFETY: `all` was initialised by `sigfillset` above; a null old mask is allowed. It changes this thread only.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}
