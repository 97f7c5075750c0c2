import Foundation
import Logging
import ServiceReport

/// What the hub writes to standard error: lines for people on a terminal, JSON otherwise, unless told which.
enum HubLogging {
    /// Of the hub's logger.
    static let label = "hub"

    /// Sends every logger of the process here.
    static func bootstrap(level: Logger.Level, format: String?) {
        let isJSON = format.map { $0 == "json" } ?? (LogDestination.standardError != .terminal)
        LoggingSystem.bootstrap { label in
            if isJSON { return JSONLogHandler(label: label, logLevel: level) }
            return TextLogHandler(logLevel: level)
        }
    }
}

/// Writes each record as one line for people.
struct TextLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        LogDestination.standardError.write(line(of: event, at: Date()), at: event.level)
    }

    /// The record without the line's end, in one line and without what would steer a terminal.
    func line(of event: LogEvent, at date: Date) -> String {
        var fields = metadata.merging(event.metadata ?? [:]) { $1 }
        if let error = event.error, fields["error"] == nil { fields["error"] = "\(error)" }
        let shown = fields.sorted { $0.key < $1.key }.map { " \($0.key)=\(Self.quoted("\($0.value)"))" }.joined()
        return Printable.line("\(date.rfc3339) \(event.level.rawValue.uppercased()) \(event.message)\(shown)")
    }

    /// In double quotes where it would not end at the next blank, so that no value a node has chosen looks like another field.
    private static func quoted(_ value: String) -> String {
        let scalars = value.unicodeScalars
        guard scalars.contains(where: { $0.properties.isWhitespace || $0 == "=" || $0 == "\"" }) else { return value }
        var quoted = "\"".unicodeScalars
        for scalar in scalars {
            if scalar == "\"" || scalar == "\\" { quoted.append("\\") }
            quoted.append(scalar)
        }
        return String(quoted) + "\""
    }
}
