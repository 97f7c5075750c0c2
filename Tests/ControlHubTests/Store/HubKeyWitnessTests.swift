import Foundation
import GRDB
import Testing

@testable import ControlHub

@Suite("The key file of a hub")
struct HubKeyWitnessTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/hub-key-\(UInt64.random(in: 0 ... .max))"

    private func key(_ byte: UInt8) -> HubKey { HubKey(bytes: [UInt8](repeating: byte, count: 32)) }

    @Test("is known by its fingerprint, which tells nothing of it; another one is noticed once")
    func fingerprint() async throws {
        let hub = try TestHub()
        let (own, other, now) = (key(1), key(2), hub.now)
        #expect(own.fingerprint == key(1).fingerprint && own.fingerprint != other.fingerprint)
        #expect(own.fingerprint != own.enrollmentHash("").map { String(format: "%02x", $0) }.joined())
        try await hub.parts.database.write { db in
            // A database of before this.
            #expect(try !HubKeyWitness.begin(db, with: own, at: now))
            #expect(try !HubKeyWitness.begin(db, with: own, at: now))
            #expect(try HubKeyWitness.begin(db, with: other, at: now))
            #expect(try !HubKeyWitness.begin(db, with: other, at: now))
            let told = try Int.fetchOne(db, sql: "SELECT count(*) FROM audit WHERE action = 'hub.key_replaced'")
            #expect(told == 1)
        }
    }

    @Test("of another hub keeps a backup from being put back, unless that is said to be right")
    func restore() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let directory = try DataDirectory(path: folder + "/data")
        let key = try directory.key()
        let database = try HubDatabase(path: directory.file(HubDatabase.fileName))
        try await database.write { db in _ = try HubKeyWitness.begin(db, with: key, at: TestHub.start) }
        try database.close()
        let copy = folder + "/copy.sqlite"
        try FileManager.default.copyItem(atPath: directory.file(HubDatabase.fileName), toPath: copy)

        let restored = RestoredDatabase(folder: directory.folder)
        func put(_ isOtherKey: Bool = false) throws -> String? {
            let source = try RestoredDatabase.open(copy)
            defer { close(source) }
            return try restored.put(source, named: copy, withOtherKey: isOtherKey, at: TestHub.start)
        }
        #expect(try put() != nil)
        try directory.write(Data(repeating: 7, count: 32), to: DataDirectory.keyName)
        await expectHubError(.storageUnavailable) { _ = try put() }
        do {
            _ = try put()
        } catch let error as HubError {
            #expect(error.detail.contains("hub.key") && error.detail.contains("--other-key"), "\(error.detail)")
        }
        #expect(try put(true) != nil)
    }
}
