import Foundation
import Testing

/// Runs every kept input through its fuzz target, without libFuzzer: what has failed once must never fail again.
@Suite("Kept inputs break no promise")
struct FuzzReplayTests {
    private static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fuzz")

    private func inputs(_ kind: String, of target: FuzzTarget) throws -> [URL] {
        let folder = Self.folder.appending(path: "\(kind)/\(target.name)")
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.path < $1.path }
    }

    @Test("Corpus and failed inputs", arguments: FuzzTarget.all)
    func replay(target: FuzzTarget) throws {
        let corpus = try inputs("Corpus", of: target)
        try #require(!corpus.isEmpty, "no inputs for \(target): run Fuzz/fuzz.py --keep")
        for input in try corpus + inputs("FailCases", of: target) {
            do {
                try target.run(ByteReader(Data(contentsOf: input)))
            } catch {
                Issue.record("\(target), \(input.path): \(error)")
            }
        }
    }

    @Test("Every folder of inputs belongs to a target")
    func names() throws {
        let names = Set(FuzzTarget.all.map(\.name))
        try #require(names.count == FuzzTarget.all.count, "two targets share a name")
        for kind in ["Corpus", "FailCases"] {
            let folder = Self.folder.appending(path: kind)
            let found = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
            for name in found where !name.hasPrefix(".") {
                #expect(names.contains(name), "\(kind)/\(name) is nobody's: a renamed target has lost its inputs")
            }
        }
    }

    @Test("An input that breaks a promise is reported")
    func canFail() {
        let target = FuzzTarget("broken") { input in try check(input.byte() == 0, "not zero") }
        #expect(throws: BrokenPromise.self) { try target.run(ByteReader([1])) }
    }
}
