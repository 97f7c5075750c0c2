import Foundation
import Glibc
import TestSupport

/// Makes, changes and compares trees with what the operating system gives, and nothing of what is tested.
struct TestTree {
    let root: String
    /// Also does to entries what keeps an agent from reading them, and makes links that lead out.
    var isHard = false

    /// Every entry with all that is carried, as one line each; the content itself, not its digest.
    func described() throws -> [String] {
        var lines: [String] = []
        var hardLinks: [UInt64: [String]] = [:]
        func walk(_ directory: [UInt8]) throws {
            guard let stream = opendir(Self.text(directory)) else { throw Failure(errno) }
            defer { closedir(stream) }
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
                if name == [0x2E] || name == [0x2E, 0x2E] { continue }
                let path = directory + [0x2F] + name
                var status = stat()
                guard lstat(Self.text(path), &status) == 0 else { throw Failure(errno) }
                let shown = path.dropFirst(root.utf8.count).map { String($0, radix: 16) }.joined(separator: " ")
                let time = "\(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)"
                switch status.st_mode & S_IFMT {
                case S_IFDIR:
                    lines.append("\(shown) dir \(status.st_mode & 0o777) \(time)")
                    try walk(path)
                case S_IFLNK:
                    var buffer = [CChar](repeating: 0, count: 5000)
                    let count = readlink(Self.text(path), &buffer, buffer.count)
                    let text = buffer[..<max(0, count)].map(UInt8.init(bitPattern:))
                    let depth = directory.dropFirst(root.utf8.count).count { $0 == 0x2F }
                    lines.append("\(shown) link \(carried(text, depth))")
                case S_IFREG:
                    let content = try Self.content(path, Int(status.st_size))
                    lines.append(
                        "\(shown) file \(status.st_mode & 0o777) \(time) \(content.count) \(content.hashValue)"
                    )
                    if status.st_nlink > 1 { hardLinks[UInt64(status.st_ino), default: []].append(shown) }
                default: continue
                }
            }
        }
        try walk(Array(root.utf8))
        lines += hardLinks.values.filter { $0.count > 1 }.map { "same: \($0.sorted())" }
        return lines.sorted()
    }

    /// The text of a link as it is carried: relative where it is an absolute one to something in the tree.
    private func carried(_ text: [UInt8], _ depth: Int) -> [UInt8] {
        let up = [String](repeating: "..", count: depth)
        if text == Array(root.utf8) { return Array((up.isEmpty ? "." : up.joined(separator: "/")).utf8) }
        guard text.starts(with: Array((root + "/").utf8)) else { return text }
        return Array((up + [""]).joined(separator: "/").utf8) + text.dropFirst(root.utf8.count + 1)
    }

    /// What a user who owns all of it may not read, and is not below something else that is so.
    func closed() throws -> [String] {
        var found: [String] = []
        func walk(_ directory: String) throws {
            for name in try FileManager.default.contentsOfDirectory(atPath: directory).sorted() {
                let path = directory + "/" + name
                var status = stat()
                guard lstat(path, &status) == 0 else { throw Failure(errno) }
                switch status.st_mode & S_IFMT {
                case S_IFDIR where status.st_mode & 0o500 == 0o500: try walk(path)
                case S_IFDIR where status.st_mode & 0o400 == 0o400:
                    // One that is empty has nothing in it to hide.
                    let isEmpty = try FileManager.default.contentsOfDirectory(atPath: path).isEmpty
                    if !isEmpty { found.append(String(path.dropFirst(root.count + 1))) }
                case S_IFDIR: found.append(String(path.dropFirst(root.count + 1)))
                case S_IFREG where status.st_mode & 0o400 == 0: found.append(String(path.dropFirst(root.count + 1)))
                default: continue
                }
            }
        }
        try walk(root)
        return found
    }

    /// Gives all of it to another user, and where asked every right to its owner.
    func own(by user: uid_t?, opening: Bool = false) {
        for path in [root] + entries() {
            var status = stat()
            guard lstat(path, &status) == 0 else { continue }
            if let user { lchown(path, user, user) }
            guard opening, status.st_mode & S_IFMT != S_IFLNK else { continue }
            chmod(path, (status.st_mode & 0o7777) | (status.st_mode & S_IFMT == S_IFDIR ? 0o700 : 0o600))
        }
    }

    struct Failure: Error {
        let code: Int32
        init(_ code: Int32) { self.code = code }
    }

    /// By the system's calls, because Foundation knows no names that are not Unicode.
    private static func content(_ path: [UInt8], _ count: Int) throws -> [UInt8] {
        let descriptor = open(text(path), O_RDONLY)
        guard descriptor >= 0 else { throw Failure(errno) }
        defer { close(descriptor) }
        return try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let more = pread(descriptor, buffer.baseAddress.map { $0 + filled }, count - filled, off_t(filled))
                guard more > 0 else { throw Failure(errno) }
                filled += more
            }
        }
    }

    private static func text(_ path: [UInt8]) -> [CChar] { path.map(CChar.init(bitPattern:)) + [0] }

    /// All directories below the root, the root first.
    private func directories() -> [String] {
        let found = FileManager.default.enumerator(atPath: root)
        var all = [root]
        while let name = found?.nextObject() as? String {
            if (try? FileManager.default.attributesOfItem(atPath: root + "/" + name)[.type] as? FileAttributeType)
                == .typeDirectory
            {
                all.append(root + "/" + name)
            }
        }
        return all.sorted()
    }

    private func entries() -> [String] {
        ((FileManager.default.enumerator(atPath: root)?.allObjects as? [String]) ?? []).sorted().map { root + "/" + $0 }
    }

    private static let names = [
        "a", "b c", "new\nline", "ünï", "-rf", "%41", ".hidden", "x'y\"z", "d0", "d1",
        "long-" + String(repeating: "n", count: 180),
    ]

    /// Does some random things that bots do to their files.
    func mutate(_ count: Int, _ random: inout SeededRandom) {
        for _ in 0..<count {
            let directory = directories().randomElement(using: &random) ?? root
            let name = (Self.names.randomElement(using: &random) ?? "a") + "\(Int.random(in: 0...9, using: &random))"
            let path = directory + "/" + name
            let existing = entries().randomElement(using: &random)
            switch Int.random(in: 0...(isHard ? 17 : 13), using: &random) {
            case 0, 1, 2:
                write(path, random.noise([0, 1, 50, 3000, 70_000, 300_000].randomElement(using: &random) ?? 0))
            case 3: mkdir(path, 0o755)
            case 4: symlink(["a", "../a", "./d0/x"].randomElement(using: &random) ?? "a", path)
            case 5: if let existing { link(existing, path) }
            case 6:
                if let existing, !Self.isLink(existing) {
                    chmod(existing, [0o444, 0o600, 0o755, 0o700].randomElement(using: &random) ?? 0o644)
                }
            // `try?`: a link in the middle leads to nothing.
            case 7: if let existing { try? FileManager.default.removeItem(atPath: existing) }
            case 8: if let existing { rename(existing, path) }
            case 9, 10: if let existing { edit(existing, &random) }
            case 11: sparse(path, &random)
            case 12:
                if let existing, !Self.isLink(existing) {
                    truncate(existing, off_t(Int.random(in: 0...200_000, using: &random)))
                }
            case 14:
                if let existing, !Self.isLink(existing) {
                    chmod(existing, [0o000, 0o300, 0o400, 0o200].randomElement(using: &random) ?? 0)
                }
            case 15:
                let places = [root + "/a0", root, "/usr/bin/no-such", "../../../no/such"]
                symlink(places.randomElement(using: &random) ?? root, path)
            case 16: symlink(["a0/../d0", "../a1/../../x", "./d0/./../d1"].randomElement(using: &random) ?? "a", path)
            case 17: mkfifo(path, 0o600)
            default:
                if let existing {
                    let times = [timespec(tv_sec: 1_000_000, tv_nsec: 123), timespec(tv_sec: -5, tv_nsec: 999)]
                    utimensat(AT_FDCWD, existing, times, AT_SYMLINK_NOFOLLOW)
                }
            }
        }
    }

    /// What a link leads to is not the tests' to change.
    private static func isLink(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFLNK
    }

    private func write(_ path: String, _ bytes: [UInt8]) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0o644)
        guard descriptor >= 0 else { return }
        bytes.withUnsafeBytes { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    private func edit(_ path: String, _ random: inout SeededRandom) {
        let descriptor = open(path, O_RDWR | O_NOFOLLOW)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        let bytes = random.noise(Int.random(in: 1...500, using: &random))
        pwrite(descriptor, bytes, bytes.count, off_t(Int.random(in: 0...max(0, size), using: &random)))
    }

    private func sparse(_ path: String, _ random: inout SeededRandom) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let bytes = random.noise(100)
        pwrite(descriptor, bytes, bytes.count, 2_000_000)
        ftruncate(descriptor, 3_000_000)
    }
}
