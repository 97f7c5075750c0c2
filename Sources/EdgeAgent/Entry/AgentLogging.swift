import Logging
import ServiceReport

/// One line a record on stderr: for people on a terminal, one JSON object otherwise.
enum AgentLogging {
    /// Of the agent's logger.
    static let label = "edge-agent"

    static func bootstrap(level: String) throws(AgentError) {
        guard let level = Logger.Level(rawValue: level.lowercased()) else {
            let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw AgentError(.configuration, "log level \"\(level)\" is unknown; known: \(known)")
        }
        LoggingSystem.bootstrap { label in
            guard LogDestination.standardError == .terminal else {
                return JSONLogHandler(label: label, logLevel: level)
            }
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
    }
}
