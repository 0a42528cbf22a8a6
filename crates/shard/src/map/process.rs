//! Two facts about threads and processes that the standard library does not offer: what happens at a fork, and which signals a
//! thread takes.

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

/// Keeps all signals away from the calling thread: they are meant for the program's own threads, and one that waits for SIGTERM
/// with every thread's mask closed must not find it taken by a thread that it does not know.
pub(crate) fn block_signals_in_this_thread() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a pointer to memory of the right size, which the call fills.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was initialised by the call above; a null old mask is allowed. It changes this thread only.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}
