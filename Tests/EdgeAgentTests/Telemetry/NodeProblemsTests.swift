import Testing
import WireFormat

@testable import EdgeAgent

/// A full and a read-only file system are tried end to end, by `NodeDiskFullTests`.
@Suite struct NodeProblemsTests {
    @Test("Nothing is wrong where there is room; a journal that cannot be written is, with its reason and what to do")
    func journal() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        #expect(NodeProblems.find(stateDirectory: bench.path).isEmpty)
        let found = NodeProblems.find(stateDirectory: bench.path, journalFailure: "disk I/O error")
        #expect(found.map(\.code) == ["journal_failing"])
        let message = try #require(found.first?.message)
        #expect(
            message.contains(bench.path) && message.contains("disk I/O error") && message.contains("Look at that disk")
        )
    }

    @Test("Of a directory that is not there nothing is said")
    func missing() {
        #expect(NodeProblems.find(stateDirectory: "/does/not/exist").isEmpty)
    }
}
