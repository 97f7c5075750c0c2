import FoundationEssentials
import Glibc
import Logging

/// One line a record on stderr: for people on a terminal, one JSON object otherwise.
enum AgentLogging {
    static func bootstrap(level: String) throws(AgentError) {
        guard let level = Logger.Level(rawValue: level.lowercased()) else {
            let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw AgentError(.configuration, "log level \"\(level)\" is unknown; known: \(known)")
        }
        LoggingSystem.bootstrap { label in
            if Terminal.errorIsTerminal {
                var handler = StreamLogHandler.standardError(label: label)
                handler.logLevel = level
                return handler
            }
            return JSONLogHandler(label: label, logLevel: level)
        }
    }
}

/// Writes each record as one JSON object: `time`, `level`, `logger`, `message`, then the metadata.
struct JSONLogHandler: LogHandler {
    let label: String
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = [
            "time": String(decoding: LogTimestamp.text(LogTimestamp.now()), as: UTF8.self),
            "level": event.level.rawValue,
            "logger": label,
            "message": event.message.description,
        ]
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }) {
            fields[key] = "\(value)"
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings always encode; a record is not worth failing for.
        guard var line = try? encoder.encode(fields) else { return }
        line.append(UInt8(ascii: "\n"))
        line.withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
