import Logging

/// Why a program ends.
public enum FailureReport {
    /// Says it on standard error: a service to its log, as a record of level error; anything else, and a service that
    /// somebody looks at, as a person or a script reads it.
    ///
    /// - Parameters:
    ///   - message: what happened and what to do.
    ///   - text: the same for people.
    ///   - label: of the program's logger.
    ///   - isService: whether the program runs for as long as the machine does, so that what it writes is a log.
    public static func write(_ message: String, text: String, label: String, isService: Bool) {
        let destination = LogDestination.standardError
        guard isService, destination != .terminal else { return destination.write(text, at: .error) }
        Logger(label: label) { JSONLogHandler(label: $0, logLevel: .error) }.error("\(message)")
    }
}
