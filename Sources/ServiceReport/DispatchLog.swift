import Glibc

/// What libdispatch has to say.
public enum DispatchLog {
    /// Silences it, except where the environment says where it shall go (`LIBDISPATCH_LOG`: `stderr`, `syslog`, `file`).
    ///
    /// libdispatch tells syslog, and so the journal, of each thread whose priority it may not raise: at every start of
    /// every program without CAP_SYS_NICE, which nobody can do anything about. It looks at the variable with its first
    /// message; call this before there is a second thread.
    public static func silence() {
        setenv("LIBDISPATCH_LOG", "NO", 0)
    }
}
