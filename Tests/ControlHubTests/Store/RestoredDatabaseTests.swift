import Foundation
import GRDB
import Glibc
import TestSupport
import Testing

@testable import ControlHub

@Suite("A backup that is put in the place of the database")
final class RestoredDatabaseTests {
    private let path = FileManager.default.temporaryDirectory.path + "/hub-restored-\(UInt64.random(in: 0 ... .max))"
    private let now = Date(unixMilliseconds: 1_767_225_600_000)
    private let directory: DataDirectory

    init() throws {
        directory = try DataDirectory(path: path)
        _ = try directory.key()
    }

    deinit {
        // Left behind, it would only cost space.
        try? FileManager.default.removeItem(atPath: path)
    }

    private var file: String { directory.file(HubDatabase.fileName) }
    private var backup: String { directory.file("backup") }

    private func names() throws -> Set<String> { Set(try FileManager.default.contentsOfDirectory(atPath: path)) }

    /// A database with a node of a name, as a hub leaves it that was killed or ended well.
    private func makeDatabase(_ node: String, isClosed: Bool = true) async throws -> HubDatabase {
        let database = try HubDatabase(path: file)
        _ = try await HubLineage(database: database, directory: directory).begin(at: now)
        try await add(node, to: database)
        if isClosed { try database.close() }
        return database
    }

    private func add(_ node: String, to database: HubDatabase) async throws {
        let date = now
        try await database.write { db in
            try db.execute(
                sql: """
                    INSERT INTO nodes (id, name, created_at, session_epoch) VALUES (?, ?, ?, 0)
                    """,
                arguments: [node, node, date.unixMilliseconds]
            )
        }
    }

    private func nodes(_ path: String? = nil) async throws -> [String] {
        let database = try HubDatabase(path: path ?? file)
        defer { try? database.close() }
        return try await database.read { db in try String.fetchAll(db, sql: "SELECT name FROM nodes ORDER BY name") }
    }

    private func restore(_ file: String) throws -> String? {
        let source = try RestoredDatabase.open(file)
        defer { close(source) }
        return try RestoredDatabase(folder: directory.folder).put(source, named: file, at: now)
    }

    @Test("replaces one that was closed well, or whose hub was killed, and keeps it", arguments: [true, false])
    func replaced(isClosed: Bool) async throws {
        let first = try await makeDatabase("old", isClosed: false)
        try first.backup(to: backup, at: now)
        try await add("later", to: first)
        if isClosed { try first.close() }
        let kept = try #require(try restore(backup))
        #expect(try await nodes() == ["old"])
        #expect(try await nodes(directory.file(kept)) == ["later", "old"])
        #expect(try names().isDisjoint(with: ["hub.sqlite.restoring", "hub.sqlite.restoring-wal"]))
        let database = try HubDatabase(path: file)
        #expect(try await HubLineage(database: database, directory: directory).begin(at: now) == .init(copyMadeAt: now))
    }

    @Test("is put where there was none")
    func first() async throws {
        let database = try await makeDatabase("old", isClosed: false)
        try database.backup(to: backup, at: now)
        try database.close()
        for name in try names() where !["backup", "hub.key"].contains(name) {
            try FileManager.default.removeItem(atPath: directory.file(name))
        }
        #expect(try restore(backup) == nil)
        #expect(try await nodes() == ["old"])
        // Without its key it is no hub's.
        try FileManager.default.removeItem(atPath: directory.file("hub.key"))
        let refusal = #expect(throws: HubError.self) { try restore(backup) }
        #expect(refusal?.detail.contains("hub.key") == true)
    }

    @Test("is known as a copy also where another program made it a moment ago")
    func otherCopy() async throws {
        _ = try await makeDatabase("old")
        try FileManager.default.copyItem(atPath: file, toPath: backup)
        #expect(try restore(backup) != nil)
        let database = try HubDatabase(path: file)
        let lineage = HubLineage(database: database, directory: directory)
        #expect(try await lineage.begin(at: now) == .init(copyMadeAt: nil))
        #expect(try await lineage.begin(at: now) == nil)
    }

    @Test("is refused where it is none, and nothing is changed")
    func refused() async throws {
        _ = try await makeDatabase("old")
        let good = directory.file("good")
        let database = try HubDatabase(path: file)
        try database.backup(to: good, at: now)
        try database.close()
        var damaged = try Data(contentsOf: URL(filePath: good))
        damaged.replaceSubrange(8192..<12_288, with: Data(repeating: 0x41, count: 4096))
        let files: [(String, Data, String)] = [
            ("text", Data("no database at all, but long enough to be taken for one".utf8), "no database"),
            ("empty", Data(), "no hub's database"), ("damaged", damaged, "damaged"),
        ]
        for (name, content, words) in files {
            try content.write(to: URL(filePath: directory.file(name)))
            let refusal = #expect(throws: HubError.self) { try restore(directory.file(name)) }
            #expect(
                refusal?.detail.contains(words) == true && refusal?.detail.contains("Nothing was changed") == true
            )
            #expect(try await nodes() == ["old"])
        }
        try Data("x".utf8).write(to: URL(filePath: good + "-wal"))
        #expect(throws: HubError.self) { try restore(good) }
        #expect(throws: HubError.self) { try restore(directory.file("missing")) }
        #expect(throws: HubError.self) { try restore(path) }
    }

    @Test("by hand, beside the log of the database before, is not opened; a database that was only killed is")
    func foreignLog() async throws {
        let database = try await makeDatabase("old", isClosed: false)
        try database.backup(to: backup, at: now)
        try await add("later", to: database)
        let other = try DataDirectory(path: path + "/other")
        for name in ["hub.sqlite", "hub.sqlite-wal", "hub.mark"] {
            try FileManager.default.copyItem(atPath: directory.file(name), toPath: other.file(name))
        }
        let copy = other.file(HubDatabase.fileName)
        try FileManager.default.removeItem(atPath: copy)
        try FileManager.default.copyItem(atPath: backup, toPath: copy)
        let refusal = #expect(throws: HubError.self) { try HubDatabase(path: copy) }
        #expect(refusal?.code == .storageUnavailable && refusal?.detail.contains("control-hub restore") == true)
        // The same files, as the end of its process left them.
        try FileManager.default.removeItem(atPath: copy)
        try FileManager.default.copyItem(atPath: file, toPath: copy)
        #expect(try await nodes(copy) == ["later", "old"])
    }
}
