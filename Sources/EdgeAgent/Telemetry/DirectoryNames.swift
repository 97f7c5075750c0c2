import Glibc

/// The names in a folder of the kernel's file systems.
enum DirectoryNames {
    /// Sorted; empty where the folder cannot be read.
    ///
    /// - Parameter isWhole: also those that begin with a dot.
    static func list(_ path: String, atMost limit: Int = 4096, isWhole: Bool = false) -> [String] {
        var names: [String] = []
        forEach(path, isWhole: isWhole) { name in
            names.append(name)
            return names.count < limit
        }
        return names.sorted()
    }

    /// How many there are.
    static func count(_ path: String, atMost limit: Int = 1 << 20) -> Int {
        var count = 0
        forEach(path) { _ in
            count += 1
            return count < limit
        }
        return count
    }

    private static func forEach(_ path: String, isWhole: Bool = false, _ body: (String) -> Bool) {
        guard let directory = opendir(path) else { return }
        defer { closedir(directory) }
        // d_name is as long as the entry needs and may end before the array Swift sees, so it is not copied whole.
        guard let offset = MemoryLayout<dirent>.offset(of: \dirent.d_name) else { return }
        while let entry = readdir(directory) {
            let name = UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: CChar.self)
            let isHidden = name.pointee == CChar(bitPattern: UInt8(ascii: "."))
            guard !isHidden || isWhole else { continue }
            let text = String(cString: name)
            guard text != ".", text != ".." else { continue }
            guard body(text) else { return }
        }
    }
}
