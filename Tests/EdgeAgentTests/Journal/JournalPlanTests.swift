import FoundationEssentials
import TestSupport
import Testing

@testable import EdgeAgent

@Suite("What the journal's statements cost")
struct JournalPlanTests {
    /// Tables with a row for everything that waits or was done lately.
    private static let growing = ["packets", "receipts", "deliveries"]

    private static let excuses: [(words: String, reason: String)] = [
        ("DELETE FROM receipts WHERE command_id IN", "once in 256 commands, of as many as are kept"),
        ("DELETE FROM deliveries WHERE (bot_id, message_id) IN", "the same"),
        ("SELECT bot_id, sequence FROM packets ORDER BY", "once after damage"),
    ]

    @Test("None goes through a whole table that grows, but where that is seldom")
    func plans() throws {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        let folder = "/\(root)/Sources/EdgeAgent/Journal"
        let files = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".swift") }
        let literals = try files.sorted().flatMap { file in
            SQLLiteral.all(in: String(decoding: try Files.read("\(folder)/\(file)") ?? [], as: UTF8.self), file: file)
        }
        #expect(literals.count > 40)
        let database = try SQLiteDatabase(path: ":memory:")
        for migration in JournalSchema.migrations { try database.execute(migration) }
        // What is put together counts or copies whole tables at a start, after damage and for `edge-agent status`.
        for literal in literals where literal.isWhole {
            let sql = literal.pieces[0]
            guard !Self.excuses.contains(where: { sql.contains($0.words) }) else { continue }
            try database.query("EXPLAIN QUERY PLAN \(sql)") { row in
                let words = row.text(3).split(separator: " ").map(String.init)
                let isScan = words.first == "SCAN" && words.count > 1 && Self.growing.contains(words[1])
                #expect(!isScan, "\(row.text(3))  ←  \(literal)")
                return true
            }
        }
    }
}
