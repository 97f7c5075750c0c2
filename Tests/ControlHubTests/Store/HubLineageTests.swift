import Foundation
import TestSupport
import Testing

@testable import ControlHub

@Suite("A database that was put back")
final class HubLineageTests {
    private let path = FileManager.default.temporaryDirectory.path + "/hub-lineage-\(UInt64.random(in: 0 ... .max))"
    private let now = Date(unixMilliseconds: 1_767_225_600_000)

    deinit {
        // Left behind, it would only cost space.
        try? FileManager.default.removeItem(atPath: path)
    }

    /// One life of a hub: what it finds at its start, and what it does before its end.
    private func live(_ act: (HubLineage) async throws -> Void = { _ in }) async throws -> HubLineage.Restoration? {
        let directory = try DataDirectory(path: path)
        let database = try HubDatabase(path: directory.file(HubDatabase.fileName))
        let lineage = HubLineage(database: database, directory: directory)
        let found = try await lineage.begin(at: now)
        try await act(lineage)
        try database.close()
        return found
    }

    private var file: String { path + "/" + HubDatabase.fileName }

    private func isBehind(after time: Duration = .zero) async throws -> Bool {
        let database = try HubDatabase(path: file)
        let date = now.addingTimeInterval(time.seconds)
        return try await database.read { db in try HubLineage.isBehind(db, at: date) }
    }

    @Test("is none that the hub goes on with, however it ended")
    func same() async throws {
        for _ in 0..<3 { #expect(try await live { try await $0.renew() } == nil) }
        // The end came between the file and the database.
        #expect(
            try await live { lineage in
                let mark = try #require(try lineage.directory.read(HubLineage.fileName))
                try lineage.directory.write(Data("00\n".utf8) + mark, to: HubLineage.fileName)
            } == nil
        )
        #expect(try await live() == nil)
        #expect(try await isBehind() == false)
    }

    @Test("is known by its mark where it is a copy of the file, and said once")
    func fileCopy() async throws {
        _ = try await live()
        try FileManager.default.copyItem(atPath: file, toPath: path + "/copy")
        _ = try await live()
        try FileManager.default.removeItem(atPath: file)
        try FileManager.default.moveItem(atPath: path + "/copy", toPath: file)
        #expect(try await live() == .init(copyMadeAt: nil))
        #expect(try await live() == nil)
        #expect(try await isBehind(after: .seconds(29 * 86_400)))
        #expect(try await isBehind(after: .seconds(31 * 86_400)) == false)
    }

    @Test("is known where it is a backup, in its own directory or in a new one", arguments: [true, false])
    func backup(isSameDirectory: Bool) async throws {
        let made = now.addingTimeInterval(-3600)
        let copy = path + ".backup"
        _ = try await live { try $0.database.backup(to: copy, at: made) }
        // The database it was made of is none.
        #expect(try await live() == nil)
        if isSameDirectory {
            try FileManager.default.removeItem(atPath: file)
        } else {
            try FileManager.default.removeItem(atPath: path)
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
        try FileManager.default.moveItem(atPath: copy, toPath: file)
        #expect(try await live() == .init(copyMadeAt: made))
        #expect(try await live() == nil)
        #expect(try await isBehind())
    }
}
