import FoundationEssentials
import Glibc
import Testing

@testable import EdgeAgent

/// The agent's small files as a crash of the machine may leave them: cut anywhere, with zeros behind. The log's segments are
/// in `BotLogTests`, launch plans in `LaunchPlanTests`.
@Suite struct TornFileTests {
    private func torn(_ whole: [UInt8]) -> [[UInt8]] {
        whole.indices.flatMap { cut in
            [0, 1, 512].map { Array(whole[..<cut]) + [UInt8](repeating: 0, count: $0) }
        }
    }

    @Test("How a launch ended is told whole or not at all")
    func exitFile() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        (event.launchID, event.code, event.lastStderr) = ("l", 3, "no \"luck\"\n")
        event.leftBehind = "sleep (pid 1)"
        let path = bench.path + "/program"
        let line = event.line + [UInt8(ascii: "\n")]
        for content in torn(line) {
            try Files.replace(path, with: content + [UInt8](repeating: 0x20, count: 64), mode: 0o600)
            #expect(ExitFile.read(path, launchID: "l") == nil)
        }
        try Files.replace(path, with: line + [UInt8](repeating: 0, count: 64), mode: 0o600)
        #expect(ExitFile.read(path, launchID: "l") == event)
        #expect(ExitFile.read(path, launchID: "another") == nil)
    }

    @Test("A lease that is not whole has ended, or ends earlier")
    func lease() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let path = bench.path + "/program"
        for content in torn(Array("86400000".utf8)) {
            try Files.replace(path, with: content, mode: 0o600)
            guard case .until(let end) = RuntimeLease.read(path) else {
                Issue.record("released by \(content)")
                continue
            }
            #expect(end < 86_400_000)
        }
    }

    @Test("What came from the hub is known on, behind whatever a crash has left")
    func provenance() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        try directory.make()
        let moved = try BotDirectory(root: bench.bots, botID: "a")
        let root = try BeneathDirectory(moved.workspace)
        let provenance = HubProvenance(moved)
        func note(_ name: String) throws {
            try Files.replace("\(moved.workspace)/\(name)", with: Array(name.utf8), mode: 0o600)
            let facts = try #require(EntryFacts(root.descriptor, Array(name.utf8CString)))
            try provenance.note(Array(name.utf8), facts, in: root)
        }
        try note("one")
        try note("two")
        let list = try #require(DirectoryNames.list(moved.fromHub, atMost: 2).first)
        let path = "\(moved.fromHub)/\(list)"
        let whole = try #require(try Files.read(path))
        for content in torn(whole) {
            try Files.replace(path, with: content, mode: 0o600)
            try note("three")
            #expect(try provenance.first(in: root) { $0 == "three" } == "three", "behind \(content.count) bytes")
        }
    }

    @Test("A file's time beyond what 64 bits of nanoseconds hold is as late as they can say")
    func lateTimes() {
        let late = timespec(tv_sec: 13_569_465_600, tv_nsec: 5)
        #expect(EntryFacts.unixNanoseconds(of: late) == .max)
        #expect(EntryFacts.unixNanoseconds(of: timespec(tv_sec: -13_569_465_600, tv_nsec: 0)) == .min)
        #expect(EntryFacts.unixNanoseconds(of: timespec(tv_sec: 1, tv_nsec: 5)) == 1_000_000_005)
        let times = StagedFile.times(.max)
        #expect(times[1].tv_sec == 9_223_372_036)
    }
}
