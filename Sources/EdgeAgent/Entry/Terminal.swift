import Glibc

/// What the agent says to the person or script that started it.
enum Terminal {
    static func writeError(_ line: String) {
        fputs(line + "\n", stderr)
    }

    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}
