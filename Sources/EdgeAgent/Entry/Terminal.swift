import Glibc

/// What the agent says to the person or script that started it.
enum Terminal {
    static func writeError(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        // There is nobody else to tell that telling failed.
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }

    static func writeLine(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        // Whoever reads may have gone; the exit status still tells.
        _ = write(STDOUT_FILENO, bytes, bytes.count)
    }

    static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}
