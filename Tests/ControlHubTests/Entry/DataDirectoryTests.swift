import Foundation
import Testing

@testable import ControlHub

@Suite("The hub's data directory")
struct DataDirectoryTests {
    @Test(
        "Commands make nothing where no hub has served, and say what to do",
        arguments: [nil, "hub.sqlite", "hub.key"]
    )
    func commandsMakeNothing(_ present: String?) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "data-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        if let present {
            // One of the two files alone is no hub's directory either: it may be half made, or half restored.
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try Data().write(to: folder.appending(path: present))
        }
        let failure = #expect(throws: StartFailure.self) { try DataDirectory(existing: folder.path) }
        #expect(failure?.message.contains("no hub has served from \(folder.path) yet") == true)
        let left = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(left == present.map { [$0] })
    }
}
