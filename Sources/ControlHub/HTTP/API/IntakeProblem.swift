import Foundation

/// Something the hub has held back of what a node sent, as the API shows it.
struct IntakeProblem: Codable, APIDocument {
    static let schemaName: String? = "IntakeProblem"

    let code: String
    let count: UInt64
    let detail: String
    let since: Date
    let lastAt: Date

    static var memberDetails: [String: Schema] {
        [
            "code": .words(of: IntakeMarks.Kind.self),
            "count": Schema().described("Packets, messages or fields, since then."),
        ]
    }

    init(_ mark: IntakeMarks.Mark) {
        code = mark.kind.rawValue
        (count, detail, since, lastAt) = (mark.count, mark.detail, mark.since, mark.lastAt)
    }
}
