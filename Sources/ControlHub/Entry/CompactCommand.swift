import ArgumentParser
import Foundation

/// `control-hub compact`.
struct CompactCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compact",
        abstract: "Copy the database into itself without what is free. The hub must be stopped.",
        discussion: """
            A database that was made by control-hub 0.1.0 shrinks by itself only when this was done once; the hub does it at its \
            start where the file has at most 1 GiB. It needs free space for two more of the file, and takes some ten seconds \
            for each GiB.
            """
    )

    @OptionGroup var common: CommonOptions
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let directory = try DataDirectory(existing: try common.read(common.flags).dataDirectory)
        // Nothing could be done with the database meanwhile.
        try directory.lock()
        let parts = try common.open(isAlone: true)
        let before = try await parts.database.space()
        do {
            try parts.database.compact()
        } catch {
            throw StartFailure(error, dataDirectory: directory.path)
        }
        let after = try await parts.database.space()
        if json {
            try Output.json(["before_bytes": .integer(before.bytes), "after_bytes": .integer(after.bytes)])
        } else {
            let (had, has) = (ByteCount.text(Double(before.bytes)), ByteCount.text(Double(after.bytes)))
            print("The database had \(had) and has \(has).")
        }
    }
}
