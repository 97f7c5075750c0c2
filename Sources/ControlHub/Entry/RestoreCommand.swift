import ArgumentParser
import Foundation
import Glibc

/// `control-hub restore`.
struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Put a backup in the place of the database of a hub that does not serve.",
        discussion: """
            The database that was there is kept beside it. Put hub.key and tls/ of the same hub into the data directory first: \
            they are not in a backup. When the hub starts it says that it was put back, and lists the bots that their nodes know \
            better as strays.
            """
    )

    @OptionGroup var common: CommonOptions
    @Argument(help: "What `control-hub backup` has made.") var file: String
    @Flag(help: "Go on although hub.key is another hub's than the backup's: its pairing codes are lost.") var otherKey =
        false
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let path = try common.read(common.flags).dataDirectory
        let kept: String?
        do {
            // With the rights of who asks; what is in the data directory is its owner's.
            let source = try RestoredDatabase.open(file)
            defer { close(source) }
            DirectoryOwner.assume(of: path)
            let directory = try DataDirectory(path: path)
            try directory.lock()
            kept = try RestoredDatabase(folder: directory.folder).put(
                source,
                named: file,
                withOtherKey: otherKey,
                at: Date()
            )
        } catch {
            throw StartFailure(error)
        }
        if json {
            try Output.json(["file": .string(file), "kept": kept.map(JSONValue.string) ?? .null])
        } else {
            print("\(file) is the database now.")
            if let kept { print("What was there is kept as \(kept).") }
            print("Start the hub: it says what its nodes know better.")
        }
    }
}
