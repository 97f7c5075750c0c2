import Glibc

/// The end of a program.
public enum ProcessEnd {
    /// Ends the process with a status, after what was printed has left it, and without the ordinary end of a program: what the C
    /// library takes down then is in use by threads that still run.
    public static func now(_ status: Int32) -> Never {
        fflush(nil)
        _exit(status)
    }
}
