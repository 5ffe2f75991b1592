import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilla.data.folders import read_pictures
from semilla.errors import DataError, SemillaError

PICTURES = ("a.png", "sub/b.png", "sub/c.jpg")


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, *PICTURES)
    return tmp_path


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"content of " + path.encode())


def write(folder, text, name="labels.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(manifest):
    return list(zip(manifest.paths, manifest.labels, manifest.parts, strict=True))


def told(manifest, *words):
    return any(all(word in note for word in words) for note in manifest.notes)


def failure(place, **options):
    with pytest.raises(DataError) as caught:
        read_pictures(place, **options)
    return caught.value


LISTED = [("a.png", "cat", "train"), ("sub/b.png", "dog", "train"), ("sub/c.jpg", None, "train")]


PATHS = ["path", "file_name", "image", "image_path", "filename", "Path", "FileName", "filepath", "file_path", "img"]
PATHS += ["img_path", "image_name", "image_file", "File", "filenames", "image_id"]
LABELS = ["label", "class", "target", "text", "transcription", "Label", "labels", "class_name", "classname", "category"]
LABELS += ["category_name", "species", "tag", "class_id", "category_id", "label_id", "y"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("label", LABELS)
def test_names_of_columns(folder, path, label):
    file = write(folder, f"{path},{label}\na.png,cat\nsub/b.png,dog\nsub/c.jpg,\n")
    assert rows(read_pictures(file)[0]) == LISTED
    manifest, blobs = read_pictures(folder)
    assert rows(manifest) == LISTED
    assert [blobs.read(row) for row in range(3)] == [b"content of " + path.encode() for path in PICTURES]
    assert told(manifest, "labels.csv: 3 rows", repr(path), repr(label))


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfpath,label\na.png,cat\nsub/b.png,dog\nsub/c.jpg,\n",
        b"path;label\na.png;cat\nsub/b.png;dog\nsub/c.jpg;\n",
        b"path\tlabel\na.png\tcat\nsub/b.png\tdog\nsub/c.jpg\t\n",
        b"path,label\r\na.png,cat\r\nsub/b.png,dog\r\nsub/c.jpg,\r\n",
        b"path,label\na.png,cat\nsub/b.png,dog\nsub/c.jpg,\n\n\n",
        b"path,label\na.png,cat\nsub/b.png,dog\nsub/c.jpg,\n,\n,\n",
        b'label,"path"\n"cat",a.png\ndog,"sub/b.png"\n,sub/c.jpg',
        b"path,label\n./a.png,cat\nsub//b.png,dog\nc.jpg,\n",
        b"path,label\na.png,cat\nsub/b.png,dog\n",
        b"path|label\na.png|cat\nsub/b.png|dog\nsub/c.jpg|\n",
        b",path,label\n0,a.png,cat\n1,sub/b.png,dog\n2,sub/c.jpg,\n",
        b"path,label\na.png,cat\nsub\\b.png,dog\n.\\sub\\c.jpg,\n",
        "path,label\na.png,cat\nsub/b.png,dog\nsub/c.jpg,\n".encode("utf-16"),
        b"path,label\na.png,cat\nsub/b.png,dog\na.png,cat\nsub/b.png,dog\n",
    ],
    ids=[
        *("mark", "semicolon", "tab", "CRLF", "blank", "empty", "quotes", "names", "unlisted"),
        *("bar", "index", "backslashes", "UTF-16", "repeated"),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv", "labels.tsv", "mine.csv"])
def test_ways_to_write_a_list(folder, text, name):
    write(folder, text, name)
    assert rows(read_pictures(folder)[0]) == LISTED


def test_repeated_rows_are_told(folder):
    write(folder, "path,label,note\na.png,cat,x\nsub/b.png,dog,x\na.png,cat,y\na.png,cat,x\n")
    manifest, _ = read_pictures(folder)
    assert rows(manifest) == LISTED
    assert told(manifest, "labels.csv: 2 rows are there again")


def test_absolute_paths_below_the_folder(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("link") / "data"
    link.symlink_to(folder)
    for start, place in ((folder, folder), (folder, link), (link, link)):
        file = write(folder, f"path,label\n{start}/a.png,cat\n{start}//sub/./b.png,dog\n{start}/sub/c.jpg,\n")
        assert rows(read_pictures(place)[0]) == LISTED
        assert rows(read_pictures(file)[0]) == LISTED
    for name in (f"{folder}/../{folder.name}/a.png", f"{folder}x/a.png", "/", f"{folder.parent}/a.png"):
        assert failure(write(folder, f"path,label\na.png,cat\n{name},dog\n")).code in ("D076", "D070"), name
    assert failure(write(folder, f"path,label\n{folder.parent}/a.png,dog\n")).code == "D076"


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv", "annotations.csv", "any.csv"])
@pytest.mark.parametrize("first", ["bild", "id", "name", "path"])
@pytest.mark.parametrize("ending", [True, False])
def test_the_column_of_pictures_is_found_by_what_is_in_it(tmp_path, name, first, ending):
    if name == "any.csv":
        put(tmp_path, *(f"images/{number}.png" for number in range(6)))
    else:
        put(tmp_path, *(f"batch{number % 2}/{number}.png" for number in range(6)))
    cells = [f"{number}.png" if ending else f"{number}" for number in range(6)]
    lines = [f"{number % 3},{cell},k{number % 2},{number}.5" for number, cell in enumerate(cells)]
    write(tmp_path, f"age,{first},label,weight\n" + "\n".join(lines), name)
    manifest, _ = read_pictures(tmp_path)
    assert set(manifest.labels) == {"k0", "k1"}
    assert told(manifest, f"{name}: 6 rows", f"{first!r}, 'label'")


def test_names_without_ending(tmp_path):
    put(tmp_path, "a/1.png", "a/1.5.png", "b/2.jpg", "b/3.png", "b/3.jpg")
    write(tmp_path, "id,label\na/1,x\n1.5,y\nb/2,x\n")
    assert [row for row in rows(read_pictures(tmp_path)[0]) if row[1]] == [
        ("a/1.5.png", "y", "train"),
        ("a/1.png", "x", "train"),
        ("b/2.jpg", "x", "train"),
    ]
    write(tmp_path, "id,label\na/1,x\n3,y\n2,x\n")
    error = failure(tmp_path)
    assert (error.code, "line 3: '3': two files" in error.message) == ("D070", True)
    assert failure(tmp_path / "labels.csv", path_column="id").message == error.message
    write(tmp_path, "id,label\na/1,x\nb/1,y\n2,x\n")
    assert "line 3: 'b/1': no such file" in failure(tmp_path).message


def test_two_columns_of_pictures(tmp_path):
    put(tmp_path, *(f"cat/{number}.png" for number in range(4)), *(f"dog/{number}.png" for number in range(4, 8)))
    write(tmp_path, "first,second,label\n" + "".join(f"{number}.png,{7 - number}.png,x\n" for number in range(8)))
    manifest, _ = read_pictures(tmp_path)
    assert set(manifest.labels) == {"cat", "dog"}
    assert told(manifest, "warn[D059]", "'labels.csv' is not read", "'first', 'second' all name", "--path-col")
    assert set(read_pictures(tmp_path, path_column="first")[0].labels) == {"x"}
    write(tmp_path, "id,second,label\n" + "".join(f"{number},{7 - number}.png,x\n" for number in range(8)))
    assert told(read_pictures(tmp_path)[0], "'second', 'label'")  # the one with endings


def test_y_beside_x_is_a_place(folder):
    write(folder, "path,x,y\na.png,1,2\nsub/b.png,3,4\n")
    assert failure(folder).code == "D081"
    assert read_pictures(folder, label_column="y")[0].labels == ("2", "4", None)


def test_a_list_with_labels_of_an_unknown_name_stops(tmp_path):
    put(tmp_path, "batch1/a.png", "batch2/b.png")
    write(tmp_path, "filepath,klasse\nbatch1/a.png,cat\nbatch2/b.png,dog\n")
    error = failure(tmp_path)
    assert error.code == "D081"
    assert "(there are 'filepath', 'klasse')" in error.message
    assert all(words in error.fix for words in ("--label-col", "--path-col", "move the list"))
    assert read_pictures(tmp_path, label_column="klasse")[0].labels == ("cat", "dog")


def test_a_column_that_the_user_names_is_in_one_of_the_lists(tmp_path):
    put(tmp_path, "batch1/a.png", "batch2/b.png")
    write(tmp_path, "erstes,bild,label\nb.png,a.png,x\na.png,b.png,y\n")
    write(tmp_path, "path,width\na.png,3\n", "sizes.csv")
    manifest, _ = read_pictures(tmp_path, path_column="bild")
    assert manifest.labels == ("x", "y")
    error = failure(tmp_path, path_column="blid")
    assert error.code == "D081"
    assert "'labels.csv' is not read: it has no column 'blid', only 'erstes', 'bild', 'label'" in error.message


def test_metadata_without_labels_beside_one_class(tmp_path):
    put(tmp_path, "images/a.png", "images/b.png")
    write(tmp_path, "file_name,width\nimages/a.png,3\n", "metadata.csv")
    assert "no column 'label' in metadata.csv (there are 'file_name', 'width')" in failure(tmp_path).message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class,meaning\n0,tabby\n1,poodle\n", "none of its columns 'class', 'meaning' names pictures"),
        ("bild,label\nno.png,x\nnot.png,y\na.png,x\n", "none of its columns"),
        ("class,meaning\n0,tabby\n1\n", "line 3: 1 cells"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path, text, reason):
    put(tmp_path, "cat/a.png", "dog/b.png")
    for name in ("labels.csv", "metadata.csv", "annotations.csv"):
        path = write(tmp_path, text, name)
        manifest, _ = read_pictures(tmp_path)
        assert manifest.labels == ("cat", "dog")
        assert told(manifest, "warn[D059]", f"{name!r} is not read: ", reason)
        path.unlink()
    write(tmp_path, text, "other.csv")
    assert told(read_pictures(tmp_path)[0], "not read: 'other.csv'")


def test_a_broken_list_of_another_name_does_not_stop(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png")
    write(tmp_path, "path,label,label\ncat/a.png,x,y\n", "other.csv")
    manifest, _ = read_pictures(tmp_path)
    assert manifest.labels == ("cat", "dog")
    assert told(manifest, "warn[D059]", "'other.csv' is not read", "two columns are called 'label'")
    (tmp_path / "other.csv").rename(tmp_path / "labels.csv")
    assert failure(tmp_path).code == "D072"


@pytest.mark.parametrize(
    ("name", "text"), [("labels.csv", "class,meaning\n0,tabby\n"), ("train.csv", "a,b\n1,2\n"), ("labels.json", "{}")]
)
def test_one_class_beside_a_list_that_was_not_read(tmp_path, name, text):
    put(tmp_path, "images/a.png", "images/b.png")
    write(tmp_path, text, name)
    error = failure(tmp_path)
    assert error.code == "D051"
    assert "found only 'images'" in error.message
    assert f"{name!r} is not read" in error.message


def test_labels_in_a_file_of_another_kind(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png")
    write(tmp_path, "{}", "annotations.json")
    assert told(read_pictures(tmp_path)[0], "warn[D059]", "'annotations.json' is not read", ".csv, .tsv, .jsonl")


def test_which_list_was_read_instead(folder):
    for name in ("labels.csv", "labels2.csv"):
        write(folder, "path,label\na.png,cat\nsub/b.png,dog\n", name)
    manifest, _ = read_pictures(folder)
    assert rows(manifest) == LISTED
    assert told(manifest, "warn[D059]: 'labels2.csv' is not read, since 'labels.csv' is")
    assert not told(manifest, "the folders are the classes")


def test_nested_values_that_nothing_needs(folder):
    lines = [{"file_name": path, "objects": {"bbox": [[1, 2]]}, "label": "x"} for path in PICTURES]
    path = write(folder, "\n".join(map(json.dumps, lines)), "metadata.jsonl")
    assert read_pictures(folder)[0].labels == read_pictures(path)[0].labels == ("x",) * 3
    write(folder, "\n".join(map(json.dumps, [line | {"label": ["x"]} for line in lines])), "metadata.jsonl")
    error = failure(folder)
    assert (error.code, "'label' is a list" in error.message) == ("D071", True)
    assert "several for one picture are not supported" in error.fix


def test_a_list_of_many_pictures(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(5_000):
        (tmp_path / f"images/{number}.png").touch()
    write(tmp_path, "age,id,klasse\n" + "".join(f"{number % 40},{number},k\n" for number in range(5_000)))
    start = time.process_time()
    assert set(read_pictures(tmp_path, label_column="klasse")[0].labels) == {"k"}
    assert time.process_time() - start < 1  # 0.1 s on an idle core


def test_a_list_given_by_itself_names_all_there_is(folder):
    path = write(folder, "path,label\na.png,cat\nsub/b.png,dog\n", "anything.csv")
    manifest, blobs = read_pictures(path)
    assert rows(manifest) == LISTED[:2]
    assert manifest.name == "anything"
    assert told(manifest, "give the folder")
    assert blobs.read(1) == b"content of sub/b.png"


def test_json_lines(folder):
    lines = [{"file_name": "a.png", "label": "cat"}, {"file_name": "sub/b.png", "label": "dog"}]
    lines += [{"file_name": "sub/c.jpg", "label": None}]
    write(folder, "\n".join(map(json.dumps, lines)) + "\n", "metadata.jsonl")
    assert rows(read_pictures(folder)[0]) == LISTED


def test_hugging_face_parts(tmp_path):
    put(tmp_path, "train/a.png", "train/b.png", "train/c.png", "test/d.png", "test/e.png")
    write(tmp_path, "file_name,label\na.png,x\nb.png,y\n", "train/metadata.csv")
    write(tmp_path, '{"file_name": "d.png", "label": "x"}\n', "test/metadata.jsonl")
    manifest, _ = read_pictures(tmp_path)
    assert rows(manifest) == [
        ("test/d.png", "x", "test"),
        ("train/a.png", "x", "train"),
        ("train/b.png", "y", "train"),
        ("train/c.png", None, "train"),
    ]
    assert told(manifest, "1 pictures that no list names count as unlabeled")
    assert told(manifest, "1 pictures of held-out parts", "left out")


def test_metadata_without_labels_beside_class_folders(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png")
    write(tmp_path, "file_name,width\ncat/a.png,3\ndog/b.png,3\n", "metadata.csv")
    write(tmp_path, "path,label\ncat/a.png,dog\ndog/b.png,dog\n", "predictions.csv")
    manifest, _ = read_pictures(tmp_path)
    assert manifest.labels == ("cat", "dog")
    assert told(manifest, "not read: 'metadata.csv'")
    assert told(manifest, "warn[D059]", "'predictions.csv' is not read")
    assert read_pictures(tmp_path, label_column="label")[0].labels == ("dog", "dog")


def test_a_list_for_each_part(tmp_path):
    put(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    write(tmp_path, "path,label\nimages/a.png,x\n", "train.csv")
    write(tmp_path, "path,label\nb.png,x\n", "test.csv")
    write(tmp_path, "path\nimages/c.png\n", "unlabeled.csv")
    assert [(label, part) for _, label, part in rows(read_pictures(tmp_path)[0])] == [
        ("x", "train"),
        ("x", "test"),
        (None, "train"),
    ]


@pytest.mark.parametrize(
    "names", [("labels.csv", "metadata.csv"), ("one.csv", "two.csv"), ("train.csv", "train_2.csv")]
)
def test_several_lists(folder, names):
    for name in names:
        write(folder, "path,label\na.png,cat\n", name)
    error = failure(folder)
    assert error.code == "D078"
    assert all(name in error.message for name in names)


def test_parts_and_groups(tmp_path):
    cells = ["train", "Training", "val", "dev", "test", "unlabeled", ""]
    put(tmp_path, *(f"{number}.png" for number in range(len(cells))))
    lines = [f"{number}.png,x,{cell},w{number}" for number, cell in enumerate(cells)]
    write(tmp_path, "path,label,split,group\n" + "\n".join(lines))
    manifest, _ = read_pictures(tmp_path)
    assert manifest.parts == ("train", "train", "development", "development", "test", "train", "train")
    assert manifest.labels == ("x",) * 5 + (None, "x")
    assert manifest.groups == tuple(f"w{number}" for number in range(7))


def test_parts_come_from_the_folders_too(tmp_path):
    put(tmp_path, "train/a.png", "test/b.png", "unlabeled/c.png")
    path = write(tmp_path, "path,label\ntrain/a.png,x\ntest/b.png,x\nunlabeled/c.png,x\n")
    for place in (tmp_path, path):
        found = {path: (label, part) for path, label, part in rows(read_pictures(place)[0])}
        expected = {"train/a.png": ("x", "train"), "test/b.png": ("x", "test"), "unlabeled/c.png": (None, "train")}
        assert found == expected
        assert told(read_pictures(place)[0], "1 labels of pictures in unlabeled folders are not used")


def test_parts_by_a_word_of_the_folder(tmp_path):
    put(tmp_path, "seg_train/cat/a.png", "seg_train/dog/b.png", "seg_test/cat/c.png")
    write(tmp_path, "path,label\nseg_train/cat/a.png,x\nseg_train/dog/b.png,y\nseg_test/cat/c.png,x\n")
    assert [part for _, _, part in rows(read_pictures(tmp_path)[0])] == ["test", "train", "train"]


def test_an_unknown_part(folder):
    write(folder, "path,label,split\na.png,cat,train\nsub/b.png,dog,tarin\n")
    error = failure(folder)
    assert error.code == "D077"
    assert "line 3" in error.message
    assert "'tarin'" in error.message


def test_columns_of_other_names(folder):
    write(folder, "bild,klasse,autor,label\na.png,cat,me,x\nsub/b.png,dog,you,x\nsub/c.jpg,,me,x\n", "liste.csv")
    options = {"path_column": "bild", "label_column": "klasse", "group_column": "autor"}
    manifest, _ = read_pictures(folder, **options)
    assert rows(manifest) == LISTED
    assert manifest.groups == ("me", "you", "me")
    for option, name in options.items():
        error = failure(folder / "liste.csv", **options | {option: "nothing"})
        assert error.code == "D081"
        assert "nothing" in error.message
        assert option.replace("_", "-") in error.fix, name


def test_labels_stay_as_they_are_written(tmp_path):
    labels = ["007", "1.0", "true", "1e5", " x", "é", "é", "no", "None?"]
    put(tmp_path, *(f"{number}.png" for number in range(len(labels))))
    write(tmp_path, "path,label\n" + "\n".join(f"{number}.png,{label}" for number, label in enumerate(labels)))
    assert list(read_pictures(tmp_path)[0].labels) == labels
    (tmp_path / "labels.csv").unlink()
    texts = ['"007"', "1.0", "12345678901234567890", "1e5", '"\\u00e9"']
    lines = [f'{{"path": "{number}.png", "label": {text}}}' for number, text in enumerate(texts)]
    write(tmp_path, "\n".join(lines), "labels.jsonl")
    assert list(read_pictures(tmp_path)[0].labels)[:5] == ["007", "1.0", "12345678901234567890", "1e5", "é"]


def test_labels_that_look_missing_or_alike_are_told(tmp_path):
    labels = ["NA", "nan", "NA", "Cat", "cat", "1", "1.0", "01", "-1", "dog"]
    put(tmp_path, *(f"{number}.png" for number in range(len(labels))))
    write(tmp_path, "path,label\n" + "\n".join(f"{number}.png,{label}" for number, label in enumerate(labels)))
    manifest, _ = read_pictures(tmp_path)
    assert list(manifest.labels) == labels
    assert told(manifest, "warn[D057]", "4 examples", "'NA', 'nan', '-1'")
    assert told(manifest, "warn[D058]", "'Cat', 'cat'")
    assert told(manifest, "warn[D058]", "'01', '1', '1.0'")


def test_roboflow(tmp_path):
    put(tmp_path, "train/a.jpg", "train/b.jpg", "train/c.jpg", "valid/d.jpg")
    write(tmp_path, "filename, cat, big dog\na.jpg, 1, 0\nb.jpg, 0, 1\nc.jpg, 0, 0\n", "train/_classes.csv")
    write(tmp_path, "filename, cat, big dog\nd.jpg, 0, 1\n", "valid/_classes.csv")
    manifest, _ = read_pictures(tmp_path)
    assert rows(manifest) == [
        ("train/a.jpg", "cat", "train"),
        ("train/b.jpg", "big dog", "train"),
        ("train/c.jpg", None, "train"),
        ("valid/d.jpg", "big dog", "development"),
    ]
    assert manifest.classes == ("big dog", "cat")
    write(tmp_path, "filename, cat, dog\na.jpg, 1, 1\n", "train/_classes.csv")
    assert failure(tmp_path).code == "D056"
    write(tmp_path, "filename, cat, dog\na.jpg, 1, 7\n", "train/_classes.csv")
    assert "line 2: '7'" in failure(tmp_path).message


@pytest.mark.parametrize(
    ("text", "code", "parts"),
    [
        ("path,label\na.png,cat\nsub/b.png\n", "D071", ["line 3", "1 cells", "2 columns"]),
        ("path,label\na.png,cat,x\n", "D071", ["line 2"]),
        ('path,label\na.png,cat\nsub/b.png,"dog\n', "D071", ["line 3", "quote"]),
        ("path,label,label\na.png,cat,cat\n", "D072", ["'label'"]),
        ("path,label\na.png,cat\nsub/b.png,dog\n./a.png,dog\n", "D075", ["line 4", "line 2", "'a.png'"]),
        ("path,label\na.png,cat\nb.png,dog\nsub/b.png,dog\n", "D075", ["line 4", "line 3"]),
        ("path,label\na.png,cat\nno.png,dog\nsub/no.png,x\n", "D070", ["line 3", "'no.png'", "1 more"]),
        ("path,label\nA.PNG,cat\n", "D070", ["line 2", "'A.PNG'", "'a.png'"]),
        ("path,label\nsub\\no.png,cat\n", "D070", ["with / between"]),
        ("path,label\nsub\\..\\..\\a.png,cat\n", "D070", ["line 2"]),
        ("path,label\n\\etc\\hostname.png,cat\n", "D070", ["line 2"]),
        ("path,label\na.png,cat\na.png,dog\n", "D075", ["line 3", "line 2", "'cat' and not 'dog'"]),
        ("path,label\nsub/a,cat\nx.png,dog\n", "D070", ["line 2", "1 more"]),
        ("path,label\n,cat\n", "D070", ["line 2", "no path"]),
        ("path,label\n../a.png,cat\n", "D076", ["line 2", "'../a.png'"]),
        ("path,label\nsub/../a.png,cat\n", "D076", ["line 2"]),
        ("path,label\n/etc/hostname.png,cat\n", "D076", ["line 2"]),
        ("a.png,cat\nsub/b.png,dog\n", "D071", ["line 1"]),
        (b"path,label\na.png,caf\xe9\n", "D073", ["line 2"]),
        (
            "path,breed\na.png,x\n",
            "D081",
            ["no column 'label' in labels.csv (there are 'path', 'breed')", "--label-col"],
        ),
    ],
)
def test_lists_that_are_wrong(folder, text, code, parts):
    error = failure(write(folder, text))
    assert error.code == code, error
    for part in parts:
        assert part in str(error)


def test_a_name_that_two_files_have(tmp_path):
    put(tmp_path, "a/x.jpg", "b/x.jpg")
    path = write(tmp_path, "path,label\nx.jpg,cat\n")
    for place in (tmp_path, path):
        error = failure(place)
        assert error.code == "D070"
        assert "'a/x.jpg' and 'b/x.jpg'" in error.message


def test_links_and_special_files_that_are_named(tmp_path):
    root = tmp_path / "data"
    put(root, "a.png", "deep/b.png")
    put(tmp_path, "out/c.png")
    (root / "out").symlink_to(tmp_path / "out")
    (root / "link.png").symlink_to("/etc/hostname")
    (root / "fine.png").symlink_to("deep/b.png")
    (root / "folder.png").mkdir()
    for name, code in {"out/c.png": "D076", "link.png": "D076", "folder.png": "D070"}.items():
        error = failure(write(root, f"path,label\na.png,x\n{name},y\n"))
        assert (error.code, "line 3" in error.message) == (code, True)
    path = write(root, "path,label\nfine.png,x\n")
    assert read_pictures(path)[1].read(0) == b"content of deep/b.png"
    path = write(root, "path,label\nout/c.png,x\nlink.png,y\n")
    assert read_pictures(path, follow_links=True)[1].read(0) == b"content of out/c.png"


@pytest.mark.parametrize("header", ["path", "path,label"])
def test_swapped_lists(folder, header):
    cells = [f"{path}{',' * header.count(',')}" for path in PICTURES[:2]]
    labeled = write(folder, "\n".join([header, *cells]), "labeled.csv")
    unlabeled = write(folder, "path,label\nsub/c.jpg,cat\n", "unlabeled.csv")
    error = failure(labeled, unlabeled=unlabeled)
    assert error.code == "D081"
    assert error.message.endswith("in unlabeled.csv — swapped?")
    if header == "path":
        assert error.message.startswith("no column 'label' in labeled.csv (there are 'path'); found it in")


def test_further_lists(folder):
    labeled = write(folder, "path,label\na.png,cat\n", "labeled.csv")
    unlabeled = write(folder, "path,label\na.png,\nsub/b.png,dog\n", "pool.csv")
    test = write(folder, "path,label\nsub/c.jpg,cat\n", "held.csv")
    manifest, blobs = read_pictures(labeled, unlabeled=unlabeled, test=test)
    assert rows(manifest) == [("a.png", "cat", "train"), ("sub/c.jpg", "cat", "test"), ("sub/b.png", None, "train")]
    assert told(manifest, "1 pictures of 'pool' are named elsewhere")
    assert told(manifest, "1 examples have a label there, which is not used")
    assert [blobs.read(row) for row in range(3)] == [b"content of " + path.encode() for path in manifest.paths]
    write(folder, "path,label\na.png,cat\n", "held.csv")
    assert failure(labeled, test=test).code == "D075"


def test_a_list_of_labels_for_a_folder_of_all_pictures(tmp_path):
    put(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    labeled = write(tmp_path, "path,label\nimages/a.png,cat\nb.png,dog\n")
    manifest, _ = read_pictures(labeled, unlabeled=tmp_path / "images")
    assert [label for _, label, _ in rows(manifest)] == ["cat", "dog", None]


def test_a_held_out_part_without_labels_is_left_out(folder):
    write(folder, "path,label,split\na.png,cat,train\nsub/b.png,,test\n")
    manifest, blobs = read_pictures(folder)
    assert ("sub/b.png" in manifest.paths) is False
    assert len(blobs) == 2
    assert told(manifest, "warn[D081]", "1 held-out")


def check_fuzz(folder, content, name):
    path = write(folder, content, name)
    start = time.monotonic()
    try:
        found = read_pictures(path)
    except SemillaError as error:
        str(error).encode()
    else:
        if found is not None:
            for label in found[0].labels:
                assert label is None or label.encode()
    assert time.monotonic() - start < 2


CELLS = st.sampled_from(
    [*PICTURES, "path", "label", "split", "", " ", '"', ",", ";", "\t", "\r", "\n", "..", "x", "\0"]
)
LINES = st.lists(st.lists(CELLS | st.text(max_size=5), max_size=4).map(",".join), max_size=6).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(LINES.map(lambda text: text.encode(errors="replace")) | st.binary(max_size=200))
def test_any_bytes_as_a_csv_file(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    put(folder, *PICTURES)
    for start in (b"", b"path,label\n"):
        check_fuzz(folder, start + content, "labels.csv")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(PICTURES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from(["path", "label", "split", "group", "x"]), VALUES, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(OBJECTS, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()) | st.binary(max_size=99)
)
def test_any_bytes_as_json_lines(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    put(folder, *PICTURES)
    check_fuzz(folder, content, "labels.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        '{"path": "a.png", "label": "\\ud800"}',
        '{"path": "\\ud800.png", "label": "x"}',
        '{"path": "/\\ud800/a.png", "label": "x"}',
        '{"path": "/", "label": "x"}',
        '{"path": "a\\u0000.png", "label": "x"}',
        '{"path": "' + "x" * 5000 + '.png", "label": "x"}',
        '{"path": "a.png", "label": ' + "[" * 50_000,
        '{"path": "a.png", "label": ["x"]}',
        '{"path": "a.png", "path": "b.png"}',
        '["a.png"]',
    ],
)
def test_hostile_json_lines(folder, line):
    error = failure(write(folder, '{"path": "sub/b.png", "label": "x"}\n' + line, "labels.jsonl"))
    assert "line 2" in error.message
    str(error).encode()
