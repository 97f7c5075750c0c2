import Foundation
import Glibc
import Testing

@Suite("A workspace moves with its bot, on the built programs", .serialized)
struct WorkspaceMoveTests {
    private static func write(_ path: String, _ bytes: Data, mode: mode_t = 0o644) throws {
        try write(Array(path.utf8), bytes, mode: mode)
    }

    private static func write(_ path: [UInt8], _ bytes: Data, mode: mode_t = 0o644) throws {
        let name = path.map(CChar.init(bitPattern:)) + [0]
        let descriptor = open(name, O_WRONLY | O_CREAT, 0o600)
        guard descriptor >= 0,
            bytes.withUnsafeBytes({ Glibc.write(descriptor, $0.baseAddress, $0.count) }) == bytes.count
        else { throw Failure("cannot write: \(String(cString: strerror(errno)))") }
        close(descriptor)
        chmod(name, mode)
    }

    /// Everything below belongs to whom the workspace belongs.
    private static func giveAway(_ root: URL) async throws {
        let folder = FileManager.default.temporaryDirectory
        let done = try await run("/bin/sh", ["-c", #"chown -Rh --reference="$1" "$1""#, "sh", root.path], in: folder)
        guard done.status == 0 else { throw Failure(done.text) }
    }

    @Test("also by agents without rights: read-only, sparse, empty, linked, deep, oddly named entries, there and back")
    func oddTree() async throws {
        let moving = try await MovingBot { root in
            let path = root.path
            try Self.write(path + "/empty", Data())
            try Self.write(path + "/read-only", Data("kept".utf8), mode: 0o444)
            try Self.write(path + "/a b\n-\u{e9}", Data("odd".utf8), mode: 0o755)
            try Self.write(Array(path.utf8) + [0x2F, 0xFF, 0xC3, 0x28], Data("not UTF-8".utf8))
            mkdir(path + "/closed", 0o755)
            try Self.write(path + "/closed/file", Data("in it".utf8), mode: 0o400)
            mkdir(path + "/closed/dir", 0o755)
            try Self.write(path + "/closed/dir/file", Data(repeating: 7, count: 300_000), mode: 0o440)
            link(path + "/closed/dir/file", path + "/other-name")
            symlink("closed/dir", path + "/link")
            symlink("closed/../other-name", path + "/around")
            symlink("/usr/bin/python3", path + "/python3")
            symlink("no/where", path + "/nowhere")
            symlink(path + "/closed/dir", path + "/own")
            var deep = path
            for level in 0..<40 {
                deep += "/level-\(level)"
                mkdir(deep, 0o755)
            }
            try Self.write(deep + "/leaf", Data("deep".utf8))
            try Self.write(path + "/sparse", Data("begin".utf8))
            truncate(path + "/sparse", 50 << 20)
            try await Self.giveAway(root)
            for directory in ["/closed/dir", "/closed"] { chmod(path + directory, 0o555) }
        }
        // An absolute link would lead to another node's path.
        let absolute = "link \(moving.workspace(.kitchen).path)/closed/dir "
        let found = try await moving.listing(.kitchen)
        #expect(found.contains(absolute))
        let before = found.replacing(absolute, with: "link closed/dir ").split(separator: "\n").sorted()
        for place in [MovingBot.Place.barn, .kitchen] {
            let ended = try await moving.end(of: try await moving.deploy(to: place))
            #expect(ended["state"] == "succeeded", "\(ended)\n\(moving.evidence)")
            let there = try await moving.listing(place).split(separator: "\n").sorted()
            #expect(there == before, "\(Set(there).symmetricDifference(before))")
            try await eventually("nothing is left on the source", or: { moving.evidence }) {
                FileManager.default.fileExists(atPath: moving.workspace(place.other).path) ? nil : ()
            }
        }
        var sparse = stat()
        #expect(stat(moving.workspace(.kitchen).path + "/sparse", &sparse) == 0 && sparse.st_blocks < 2000)
        try await moving.finish()
    }

    @Test("and not at all where the agent may not read all of it: that is said before, and the bot is left alone")
    func unreadable() async throws {
        guard MovingBot.haveAgentsNoRights else { return }
        let moving = try await MovingBot { root in
            let path = root.path
            mkdir(path + "/secret", 0o755)
            try Self.write(path + "/secret/key", Data("kept".utf8))
            try Self.write(path + "/closed-file", Data("kept too".utf8))
            try await Self.giveAway(root)
            chmod(path + "/secret", 0)
            chmod(path + "/closed-file", 0)
        }
        let secret = moving.workspace(.kitchen).path + "/secret"
        let launch = try await moving.api.get("/api/bots/\(moving.bot)")["launch_id"].string
        let preview = try await moving.preview(to: .barn)
        #expect(preview["is_possible"] == .bool(false), "\(preview)")
        let check = try #require(preview["checks"].array.first { $0["name"] == "workspace_readable" })
        for words in ["2 entries", "secret (a directory of mode 000", "closed-file (a file of mode 000", "chmod"] {
            #expect(check["outcome"] == "failed" && check["message"].string?.contains(words) == true, "\(check)")
        }
        let ended = try await moving.end(of: try await moving.deploy(to: .barn))
        #expect(ended["state"] == "failed" && ended["failed_step"] == "pre_copy", "\(ended)")
        #expect(ended["reason"].string?.contains("secret (a directory of mode 000") == true, "\(ended)")
        let snapshot = try await moving.api.send("POST", "/api/bots/\(moving.bot)/snapshots", [:])
        #expect(snapshot.status == 403 && snapshot.json["detail"].string?.contains("secret") == true, "\(snapshot)")
        let now = try await moving.api.get("/api/bots/\(moving.bot)")["launch_id"].string
        #expect(now == launch, "it was never stopped")
        #expect(access(secret, F_OK) == 0)
        chmod(secret, 0o700)
        chmod(moving.workspace(.kitchen).path + "/closed-file", 0o600)
        let moved = try await moving.end(of: try await moving.deploy(to: .barn))
        #expect(moved["state"] == "succeeded", "\(moved)\n\(moving.evidence)")
        let there = moving.workspace(.barn).path
        #expect(try String(contentsOfFile: there + "/secret/key", encoding: .utf8) == "kept")
        #expect(try String(contentsOfFile: there + "/closed-file", encoding: .utf8) == "kept too")
        try await moving.finish()
    }

    @Test(
        "and what the source cannot remove afterwards is told with the reason, and goes when that is gone",
        .enabled(if: geteuid() == 0, "mounting needs root")
    )
    func mountInside() async throws {
        let moving = try await MovingBot { root in
            try Self.write(root.path + "/plain", Data("1".utf8))
            mkdir(root.path + "/data", 0o755)
            try await Self.giveAway(root)
        }
        let data = moving.workspace(.kitchen).path + "/data"
        try #require(mount("tmpfs", data, "tmpfs", 0, "size=1m,mode=755") == 0)
        defer { umount2(data, Int32(MNT_DETACH)) }
        try Self.write(data + "/owners", Data("not the bot's".utf8))
        let ended = try await moving.end(of: try await moving.deploy(to: .barn))
        #expect(ended["state"] == "succeeded", "\(ended)\n\(moving.evidence)")
        let path = "/api/nodes/\(moving.node(.kitchen))/strays"
        let stray = try await eventually("the source says what stays", or: { moving.evidence }) {
            try await moving.api.get(path).items.first { $0["problem"].string?.isEmpty == false }
        }
        let problem = stray["problem"].string ?? ""
        #expect(problem.contains("workspace/data (a file system is mounted there)"), "\(stray)")
        #expect(try String(contentsOfFile: data + "/owners", encoding: .utf8) == "not the bot's")
        #expect(access(moving.workspace(.kitchen).path + "/plain", F_OK) != 0, "the rest is gone")
        #expect(umount(data) == 0)
        _ = try await moving.api.post(path + "/\(moving.bot)/discard")
        try await eventually("nothing is left on the source", or: { moving.evidence }) { () -> Void? in
            guard !FileManager.default.fileExists(atPath: moving.workspace(.kitchen).path) else { return nil }
            return try await moving.api.get(path).items.isEmpty ? () : nil
        }
        try await moving.finish()
    }

    /// Names of the 1,000 small files that are there.
    private static func names(_ workspace: URL) -> Set<String> {
        let all = FileManager.default.enumerator(atPath: workspace.path)?.allObjects as? [String] ?? []
        return Set(all.filter { $0.hasPrefix("many/") && $0.contains("file") })
    }

    private static func bytesArrived(_ control: URL) -> Int {
        let transfers = control.appending(path: "transfers")
        let all = FileManager.default.enumerator(atPath: transfers.path)?.allObjects as? [String] ?? []
        return all.reduce(0) { sum, name in
            var status = stat()
            guard lstat(transfers.path + "/" + name, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                return sum
            }
            return sum + Int(status.st_size)
        }
    }

    /// A few files of some megabytes and a thousand small ones.
    private static func fill(_ root: URL) async throws {
        for index in 0..<10 {
            let directory = "\(root.path)/many/d\(index)"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            for file in 0..<100 { try write("\(directory)/file\(file)", Data("\(index) \(file)".utf8)) }
        }
        var state: UInt64 = 1
        for index in 0..<6 {
            var noise = Data(count: 8 << 20)
            noise.withUnsafeMutableBytes { bytes in
                for place in stride(from: 0, to: bytes.count, by: 8) {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    bytes.storeBytes(of: state ^ state >> 29, toByteOffset: place, as: UInt64.self)
                }
            }
            try write("\(root.path)/large\(index)", noise)
        }
        try await giveAway(root)
    }

    @Test("and goes on with what has come when target and source are killed in the middle; half of it is never shown")
    func killedWhileCopying() async throws {
        let moving = try await MovingBot { try await Self.fill($0) }
        let before = try await moving.listing(.kitchen)
        let deployment = try await moving.deploy(to: .barn)
        var arrived = 0
        for place in [MovingBot.Place.barn, .kitchen] {
            arrived = try await eventually("a good part has come", or: { moving.evidence }) {
                let now = Self.bytesArrived(moving.control(.barn))
                return now > arrived + (6 << 20) ? now : nil
            }
            moving.kill(place)
            #expect(Self.names(moving.workspace(.barn)).isEmpty)
            try moving.restart(place)
        }
        let ended = try await moving.end(of: deployment)
        #expect(ended["state"] == "succeeded", "\(ended)\n\(moving.evidence)")
        let came = ended["workspace"]["received_bytes"].int ?? .max
        let total = ended["workspace"]["total_bytes"].int ?? 0
        // Counted are the bytes of passes that came to their end.
        #expect(came < total - (6 << 20), "\(came) of \(total) bytes came in the last pass")
        #expect(try await moving.listing(.barn) == before)
        try await moving.finish()
    }

    @Test("and is there whole or not at all when the agent is killed while it puts it in place, again and again")
    func killedWhileInstalling() async throws {
        let moving = try await MovingBot { try await Self.fill($0) }
        let before = try await moving.listing(.kitchen)
        for (round, place) in [MovingBot.Place.barn, .kitchen, .barn, .kitchen].enumerated() {
            let deployment = try await moving.deploy(to: place)
            let installed = moving.control(place).appending(
                path: "transfers/\(deployment["id"].string ?? "")/installed"
            )
            // Looked at without a pause: it is a matter of microseconds.
            let deadline = ContinuousClock.now + .seconds(120)
            while access(installed.path, F_OK) != 0, .now < deadline { await Task.yield() }
            // The first time at once, then a little later each time.
            usleep(UInt32(round * 300))  // allow-sleep: moments to kill at, not a wait
            moving.kill(place)
            let names = Self.names(moving.workspace(place))
            #expect(names.isEmpty || names.count == 1000, "\(names.count) of 1000 files are shown")
            if !names.isEmpty { #expect(try await moving.listing(place) == before) }
            try moving.restart(place)
            let ended = try await moving.end(of: deployment)
            #expect(ended["state"] == "succeeded", "\(ended)\n\(moving.evidence)")
            #expect(try await moving.listing(place) == before)
        }
        try await moving.finish()
    }
}
