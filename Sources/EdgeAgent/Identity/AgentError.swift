/// Why the agent or one of its commands cannot go on: one line for the person at the terminal.
struct AgentError: Error, Sendable, Equatable {
    /// Also the exit status of the command; the numbers are those of `sysexits.h`.
    enum Code: Int32, Sendable {
        case usage = 64
        case dataError = 65
        case unavailable = 69
        case software = 70
        case cannotCreate = 73
        case temporaryFailure = 75
        case noPermission = 77
        case configuration = 78
    }

    let code: Code
    /// What happened, to what, and what to do next; no newline, no secret.
    let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    static func stateDirectory(_ path: String, _ problem: String) -> AgentError {
        AgentError(.cannotCreate, "state directory \(path) \(problem)")
    }

    static func identity(_ message: String) -> AgentError {
        AgentError(.configuration, message)
    }
}

extension AgentError: CustomStringConvertible {
    var description: String { message }
}
