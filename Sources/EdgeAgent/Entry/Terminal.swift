import Glibc
import ServiceReport

/// What the agent says to the person or script that started it.
enum Terminal {
    /// The commands that run for as long as the machine does: what they write to standard error is a log.
    static let services: Set = ["run", "hold"]

    /// Says why the program ends.
    ///
    /// - Parameter text: for people, where that is more than the message.
    static func writeFailure(_ message: String, text: String? = nil, isService: Bool) {
        FailureReport.write(
            message,
            text: text ?? "edge-agent: \(message)",
            label: AgentLogging.label,
            isService: isService
        )
    }

    static func writeLine(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        // Whoever reads may have gone; the exit status still tells.
        _ = write(STDOUT_FILENO, bytes, bytes.count)
    }

    static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
}
