const zone = element.querySelector(".zone");
const input = element.querySelector("input");
const told = element.querySelector(".told");

const take = (file) => {
  if (!file) return;
  if (file.size > MOST_BYTES) {
    told.textContent = `${file.name} has ${(file.size / 1e6).toFixed(1)} MB; at most ${MOST_BYTES / 1e6} MB are taken.`;
    return;
  }
  told.textContent = file.name;
  const reader = new FileReader();
  reader.onerror = () => { told.textContent = `${file.name} cannot be read.`; };
  reader.onload = () => {
    props.value = reader.result.includes(",") ? reader.result : "data:;base64,";
    trigger("upload");
  };
  reader.readAsDataURL(file);
};

const over = (event) => {
  event.preventDefault();
  zone.classList.add("over");
};
const leave = () => zone.classList.remove("over");
zone.addEventListener("dragenter", over);
zone.addEventListener("dragover", over);
zone.addEventListener("dragleave", leave);
zone.addEventListener("drop", (event) => {
  event.preventDefault();
  leave();
  take(event.dataTransfer.files[0]);
});
input.addEventListener("change", () => {
  take(input.files[0]);
  input.value = "";
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
