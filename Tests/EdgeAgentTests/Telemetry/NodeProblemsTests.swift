import Glibc
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

    @Test("No inodes are a problem of their own, however much space there is")
    func inodes() throws {
        var values = statvfs()
        (values.f_frsize, values.f_blocks, values.f_bavail) = (4096, 1 << 20, 1 << 20)
        (values.f_files, values.f_favail) = (1_000, 0)
        let found = NodeProblems.find(stateDirectory: "/state", values)
        #expect(found.map(\.code) == ["disk_no_inodes"])
        #expect(found.first?.message.contains("inodes") == true && found.first?.message.contains("/state") == true)
        #expect(DiskShortage.files.advice("/state/x").contains("df -i"))
        // A file system that makes room for files as it goes counts none.
        values.f_files = 0
        #expect(NodeProblems.find(stateDirectory: "/state", values).isEmpty)
        values.f_bavail = 0
        #expect(NodeProblems.find(stateDirectory: "/state", values).map(\.code) == ["disk_full"])
    }

    @Test("Of a directory that is not there nothing is said")
    func missing() {
        #expect(NodeProblems.find(stateDirectory: "/does/not/exist").isEmpty)
    }
}
