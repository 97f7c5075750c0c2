import Glibc

/// Lines for whoever started the program, at once.
public enum Console {
    /// On standard output.
    public static func say(_ line: String) { put(line, on: STDOUT_FILENO) }

    /// On standard error.
    public static func note(_ line: String) { put(line, on: STDERR_FILENO) }

    private static func put(_ line: String, on descriptor: Int32) {
        var rest = Array((line + "\n").utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
