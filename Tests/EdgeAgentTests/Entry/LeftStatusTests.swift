import Foundation
import Testing

@testable import EdgeAgent

/// A bot may run on where nothing says any more what it is; who looks at the machine is told.
@Suite("The status without an agent")
struct LeftStatusTests {
    @Test("names bots whose directories lie there though no journal does")
    func withoutJournal() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "left-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        for name in ["bot_1", "-no-bot", ".hidden"] {
            try FileManager.default.createDirectory(
                at: root.appending(path: "bots/\(name)"),
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: root.path)
        let report = try LeftStatus.report(
            AgentConfiguration(flags: [.stateDirectory: root.path], file: nil, environment: [:])
        )
        #expect(report.bots.map(\.id) == ["bot_1"])
        #expect(report.bots.map(\.phase) == ["unknown"])
    }
}
