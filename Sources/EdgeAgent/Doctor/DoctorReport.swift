import FoundationEssentials
import ServiceReport

/// How checks are shown: aligned lines, in colour on a terminal, or one JSON object.
enum DoctorReport {
    private static let nameWidth = DoctorCheck.Name.allCases.map(\.rawValue.count).max() ?? 0
    private static let statusWidth = DoctorCheck.Status.skipped.rawValue.count

    static func line(_ check: DoctorCheck, isColoured: Bool) -> String {
        let status = pad(check.status.rawValue, statusWidth)
        let colour =
            switch check.status {
            case .ok: "32"
            case .failed: "1;31"
            case .skipped: "2"
            }
        return pad(check.name.rawValue, nameWidth) + "  "
            + (isColoured ? "\u{1B}[\(colour)m\(status)\u{1B}[0m" : status) + "  "
            + TerminalText.safe(check.detail, substitute: "?")
    }

    private struct Document: Encodable {
        let ok: Bool
        let checks: [DoctorCheck]
    }

    static func json(_ checks: [DoctorCheck]) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let isHealthy = !checks.contains { $0.status == .failed }
        return String(decoding: try encoder.encode(Document(ok: isHealthy, checks: checks)), as: UTF8.self)
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
